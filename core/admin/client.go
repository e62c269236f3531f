package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"github.com/evergate/evergate/core/diag"
)

// Client calls a gateway through its socket. It is safe for concurrent use.
type Client struct {
	path string
	http http.Client
}

// Dial makes a client for the socket at path. Nothing is opened before the first
// call.
func Dial(path string) *Client {
	var d net.Dialer
	return &Client{path: path, http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}}}
}

// Status describes the gateway.
func (c *Client) Status(ctx context.Context) (diag.Status, error) {
	return call[diag.Status](ctx, c, http.MethodGet, "/v1/status")
}

// Tunnels lists tunnels; see Gateway.
func (c *Client) Tunnels(ctx context.Context, name string, keys bool) ([]diag.Tunnel, error) {
	q := url.Values{}
	if name != "" {
		q.Set("name", name)
	}
	if keys {
		q.Set("keys", "1")
	}
	return call[[]diag.Tunnel](ctx, c, http.MethodGet, "/v1/tunnels?"+q.Encode())
}

// IKEStats counts what IKE did.
func (c *Client) IKEStats(ctx context.Context) (diag.Stats, error) {
	return call[diag.Stats](ctx, c, http.MethodGet, "/v1/ike/stats")
}

// DataplaneStats counts the packets that belong to no SA.
func (c *Client) DataplaneStats(ctx context.Context) (diag.Stats, error) {
	return call[diag.Stats](ctx, c, http.MethodGet, "/v1/dataplane/stats")
}

// DataplaneSAs counts the SAs that the dataplane holds.
func (c *Client) DataplaneSAs(ctx context.Context) ([]diag.Held, error) {
	return call[[]diag.Held](ctx, c, http.MethodGet, "/v1/dataplane/sas")
}

// StandalonePeers describes the group of members; see Gateway.
func (c *Client) StandalonePeers(ctx context.Context) (diag.StandalonePeers, error) {
	return call[diag.StandalonePeers](ctx, c, http.MethodGet, "/v1/ha/peers")
}

// HAStatus describes the unit; see Gateway.
func (c *Client) HAStatus(ctx context.Context) (diag.HAStatus, error) {
	return call[diag.HAStatus](ctx, c, http.MethodGet, "/v1/ha/status")
}

// Failover makes the gateway step back, or takes that back; see Gateway.
func (c *Client) Failover(ctx context.Context, on bool) error {
	query := ""
	if on {
		query = "?set=1"
	}
	_, err := call[any](ctx, c, http.MethodPost, "/v1/ha/failover"+query)
	return err
}

// Up initiates a connection.
func (c *Client) Up(ctx context.Context, name string) error {
	_, err := call[any](ctx, c, http.MethodPost, "/v1/tunnels/"+url.PathEscape(name)+"/up")
	return err
}

// Down closes a tunnel or all of a connection.
func (c *Client) Down(ctx context.Context, name string) error {
	_, err := call[any](ctx, c, http.MethodPost, "/v1/tunnels/"+url.PathEscape(name)+"/down")
	return err
}

// Rekey makes new keys for a tunnel or all of a connection; see Gateway.
func (c *Client) Rekey(ctx context.Context, name string, ike bool) error {
	query := ""
	if ike {
		query = "?ike=1"
	}
	_, err := call[any](ctx, c, http.MethodPost, "/v1/tunnels/"+url.PathEscape(name)+"/rekey"+query)
	return err
}

// Reload makes the gateway read its configuration again, and tells what
// changed.
func (c *Client) Reload(ctx context.Context) ([]string, error) {
	return call[[]string](ctx, c, http.MethodPost, "/v1/reload")
}

func call[T any](ctx context.Context, c *Client, method, path string) (T, error) {
	var v T
	// The host is a word only: whatever it is, Dial leads to the socket.
	req, err := http.NewRequestWithContext(ctx, method, "http://evergated"+path, http.NoBody)
	if err != nil {
		return v, fmt.Errorf("admin: make request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return v, c.explain(err)
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	if resp.StatusCode != http.StatusOK {
		var p problem
		if err := dec.Decode(&p); err != nil || p.Error == "" {
			return v, fmt.Errorf("admin: the gateway answered %s", resp.Status)
		}
		return v, errors.New(p.Error)
	}
	if err := dec.Decode(&v); err != nil {
		return v, fmt.Errorf("admin: read the gateway's answer: %w", err)
	}
	return v, nil
}

// explain says what a person can do about it.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no gateway listens on %s: is evergated running, and is --socket right?", c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to open %s: run as root or in the group that admin.group names", c.path)
	default:
		return fmt.Errorf("call the gateway on %s: %w", c.path, err)
	}
}
