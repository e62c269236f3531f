package vici

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Packet types.
const (
	cmdRequest      = 0
	cmdResponse     = 1
	cmdUnknown      = 2
	eventRegister   = 3
	eventUnregister = 4
	eventConfirm    = 5
	eventUnknown    = 6
	event           = 7
)

// ErrUnknown tells that charon knows no such command or event: the plugin that
// offers it is not loaded.
var ErrUnknown = errors.New("unknown to the daemon")

// CommandError is the daemon's refusal of a command, in its own words.
type CommandError struct {
	Command string
	Reason  string
}

// Error names the command and the reason.
func (e *CommandError) Error() string {
	return fmt.Sprintf("vici: %s: %s", e.Command, e.Reason)
}

// Client is one connection to the daemon. "There is no sequence number to
// associate responses to requests, so only one command can be active at a time
// on a single connection" (VICI, Commands): a Client serves one goroutine.
type Client struct {
	conn net.Conn
}

// Dial connects to the daemon's unix socket.
func Dial(ctx context.Context, path string) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("vici: connect: %w", err)
	}
	return &Client{conn: conn}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Call sends a command and returns its response. A response that says
// success = no comes back as a *CommandError, beside the message.
//
// A Client whose Call ended by its context, or by any error but these two, is
// out of step with the daemon: close it.
func (c *Client) Call(ctx context.Context, command string, args Message) (Message, error) {
	return c.Stream(ctx, command, args, "", nil)
}

// Stream is Call for a command that streams: each gets the messages of the
// named event that arrive before the response.
func (c *Client) Stream(ctx context.Context, command string, args Message, eventName string, each func(Message)) (Message, error) {
	stop := c.follow(ctx)
	defer stop()
	if eventName != "" {
		if err := c.register(eventRegister, eventName); err != nil {
			return Message{}, ctxError(ctx, err)
		}
	}
	res, err := c.exchange(command, args, eventName, each)
	if err != nil {
		return res, ctxError(ctx, err)
	}
	if eventName != "" {
		if err := c.register(eventUnregister, eventName); err != nil {
			return Message{}, ctxError(ctx, err)
		}
	}
	if res.Get("success") == "no" {
		return res, &CommandError{Command: command, Reason: res.Get("errmsg")}
	}
	return res, nil
}

// follow makes the end of ctx interrupt reads and writes of the connection.
func (c *Client) follow(ctx context.Context) (stop func()) {
	release := context.AfterFunc(ctx, func() {
		// An error means that the connection is closed, which also interrupts.
		_ = c.conn.SetDeadline(time.Unix(1, 0))
	})
	return func() { release() }
}

func ctxError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
	}
	return err
}

func (c *Client) register(packet byte, name string) error {
	if err := c.write(packet, name, Message{}); err != nil {
		return fmt.Errorf("vici: register event %q: %w", name, err)
	}
	for {
		got, _, _, err := c.read()
		switch {
		case err != nil:
			return fmt.Errorf("vici: register event %q: %w", name, err)
		case got == eventConfirm:
			return nil
		case got == eventUnknown:
			return fmt.Errorf("vici: register event %q: %w", name, ErrUnknown)
		case got != event:
			return fmt.Errorf("vici: register event %q: answered by a packet of type %d: %w", name, got, ErrMalformed)
		}
	}
}

func (c *Client) exchange(command string, args Message, eventName string, each func(Message)) (Message, error) {
	if err := c.write(cmdRequest, command, args); err != nil {
		return Message{}, fmt.Errorf("vici: send %s: %w", command, err)
	}
	for {
		got, name, m, err := c.read()
		switch {
		case err != nil:
			return Message{}, fmt.Errorf("vici: receive the response to %s: %w", command, err)
		case got == event && name == eventName:
			each(m)
		case got == cmdResponse:
			return m, nil
		case got == cmdUnknown:
			return Message{}, fmt.Errorf("vici: command %s: %w", command, ErrUnknown)
		case got != event:
			return Message{}, fmt.Errorf("vici: %s answered by a packet of type %d: %w", command, got, ErrMalformed)
		}
	}
}

func (c *Client) write(packet byte, name string, m Message) error {
	b, err := appendName(make([]byte, 4, 512), packet, name)
	if err != nil {
		return err
	}
	if b, err = m.AppendTo(b); err != nil {
		return err
	}
	if len(b)-4 > MaxMessage {
		return fmt.Errorf("message of %d octets: %w", len(b)-4, ErrMalformed)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	_, err = c.conn.Write(b)
	return err
}

// read returns the next packet. Its name is empty unless it is an event.
func (c *Client) read() (packet byte, name string, m Message, err error) {
	var head [4]byte
	if _, err = io.ReadFull(c.conn, head[:]); err != nil {
		return 0, "", m, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > MaxMessage {
		return 0, "", m, fmt.Errorf("segment of %d octets: %w", n, ErrMalformed)
	}
	b := make([]byte, n)
	if _, err = io.ReadFull(c.conn, b); err != nil {
		return 0, "", m, err
	}
	p := parser{data: b, off: 1}
	if b[0] == event {
		if name, err = p.counted(1); err != nil {
			return 0, "", m, err
		}
	}
	m, err = Parse(b[p.off:])
	return b[0], name, m, err
}
