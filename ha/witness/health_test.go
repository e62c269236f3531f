package witness_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/ha/witness"
)

// run runs a witness with these settings until the test ends.
func run(t *testing.T, c witness.Config) *witness.Witness {
	t.Helper()
	w, err := witness.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with: %v.", err)
		}
	})
	return w
}

func TestProbeHearsOfFitness(t *testing.T) {
	w := run(t, witness.Config{Health: netip.MustParseAddrPort("127.0.0.1:0"), DrainDelay: time.Millisecond})
	p := prober{t: t, w: w}
	p.want("a member that has just started", http.StatusServiceUnavailable, "unfit: starting\n")
	w.Fit(true, "synced")
	p.want("a fit member", http.StatusOK, "fit: synced\n")
	w.Fit(false, "no dataplane")
	p.want("a member without a dataplane", http.StatusServiceUnavailable, "unfit: no dataplane\n")
	w.Fit(true, "synced")
	if err := w.Drain(t.Context()); err != nil {
		t.Fatalf("Drain: %v.", err)
	}
	p.want("a drained member, fit as it is", http.StatusServiceUnavailable, "unfit: draining\n")
	w.Resume()
	p.want("a member that resumed", http.StatusOK, "fit: synced\n")
	if code, _ := p.ask("/other"); code != http.StatusNotFound {
		t.Errorf("A probe for anything else gets %d.", code)
	}
}

type prober struct {
	t *testing.T
	w *witness.Witness
}

func (p prober) ask(path string) (int, string) {
	p.t.Helper()
	netlab.Eventually(p.t, limit, "the health endpoint listens", func() error {
		if p.w.Status().Health.Port() == 0 {
			return errors.New("it does not")
		}
		return nil
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, fmt.Sprintf("http://%v%s", p.w.Status().Health, path), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		p.t.Fatalf("probe: %v", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatalf("probe: %v", err)
	}
	return res.StatusCode, string(body)
}

func (p prober) want(who string, code int, body string) {
	p.t.Helper()
	if gotCode, gotBody := p.ask(witness.HealthPath); gotCode != code || gotBody != body {
		p.t.Errorf("%s answers a probe with %d %q, not %d %q.", who, gotCode, gotBody, code, body)
	}
}

func TestStaticECMPNeedsNothing(t *testing.T) {
	w := run(t, witness.Config{})
	w.Fit(true, "synced")
	if err := w.Own("vpn1_1", []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}); err != nil {
		t.Fatalf("Own: %v.", err)
	}
	if err := w.StandBy("vpn1_2", []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16")}); err != nil {
		t.Fatalf("StandBy: %v.", err)
	}
	if err := w.Drain(t.Context()); err != nil {
		t.Fatalf("Drain with nobody to wait for: %v.", err)
	}
	s := w.Status()
	if s.Owned != 1 || s.Standby != 1 || !s.Draining || s.Announced != 0 || s.Health.IsValid() || s.Neighbors != nil {
		t.Errorf("The status of a member with static routes around it: %+v.", s)
	}
}

func TestDrainEndsWithItsContext(t *testing.T) {
	w := run(t, witness.Config{Health: netip.MustParseAddrPort("127.0.0.1:0"), DrainDelay: time.Hour})
	prober{t, w}.want("a member that has just started", http.StatusServiceUnavailable, "unfit: starting\n")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Drain ended with %v, not with its context's end.", err)
	}
	if !w.Status().Draining {
		t.Error("The member that gave up waiting is not withdrawn.")
	}
}

func TestRunIsExclusiveAndMayBeRepeated(t *testing.T) {
	w, err := witness.New(witness.Config{Health: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	p := prober{t, w}
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		p.want("a member that runs", http.StatusServiceUnavailable, "unfit: starting\n")
		if err := w.Run(ctx); err == nil {
			t.Error("A second Run at the same time is not refused.")
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with: %v.", err)
		}
		if err := w.Drain(t.Context()); err != nil {
			t.Errorf("Drain while nothing runs: %v.", err)
		}
		w.Resume()
	}
}

func TestRefusalsAreToldAndCounted(t *testing.T) {
	w := run(t, witness.Config{})
	err := w.Own("vpn1_1", []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.1.0.0/16")})
	if err == nil || err.Error() != "witness: announce the networks of vpn1_1: 0.0.0.0/0 is a default route" {
		t.Errorf("A default route is refused with: %v.", err)
	}
	if err := w.SetGateways(netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("::1")); err == nil {
		t.Error("A loopback address becomes a gateway.")
	}
	if err := w.SetGateways(netip.MustParseAddr("203.0.113.2")); err != nil {
		t.Errorf("A gateway is refused: %v.", err)
	}
	if s := w.Status(); s.Owned != 1 || s.Refused != 1 || len(s.Gateways) != 1 || s.Gateways[0] != netip.MustParseAddr("203.0.113.2") {
		t.Errorf("The status after a refusal: %+v.", s)
	}
}
