package netlab

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Ping describes a series of echo requests. Only To is required.
type Ping struct {
	To           string
	From         string        // source address
	Count        int           // default 3
	Interval     time.Duration // default 200 ms; the kernel's root may go lower
	Size         int           // octets after the ICMP header, default 56
	DontFragment bool          // and do not fragment at the source either
	// Wait is how long the first reply may take after the last request, 5 s by default.
	// When one has come, ping(8) waits for the rest twice as long as the slowest took,
	// and takes what is later for lost: Echo is for what must be answered.
	Wait time.Duration
}

// PingResult is what came of a series.
type PingResult struct {
	Sent, Received, Duplicates, Errors int
	// MTU is what the last "fragmentation needed" or "packet too big" asked
	// for, in octets; 0 when there was none.
	MTU int
	// Output is ping's own account.
	Output string
}

// Lost returns the number of requests without a reply.
func (r PingResult) Lost() int { return r.Sent - r.Received }

// Err returns nil when every request was answered exactly once.
func (r PingResult) Err() error {
	if r.Sent > 0 && r.Received == r.Sent && r.Duplicates == 0 && r.Errors == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d echo requests answered, %d duplicates, %d errors", r.Received, r.Sent, r.Duplicates, r.Errors)
}

// Ping sends the series and waits for its end. Replies that do not come are in
// the result, not in the error.
func (n *Namespace) Ping(ctx context.Context, p Ping) (PingResult, error) {
	n.lab.tb.Helper()
	cmd := exec.CommandContext(ctx, n.lab.Tool("ping"), p.args()...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	out, err := n.Output(cmd)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 { // replies are missing
		out, err = append(out, exit.Stderr...), nil // "message too long" is on either
	}
	if err != nil {
		return PingResult{}, err
	}
	return parsePing(string(out))
}

func (p Ping) args() []string {
	if p.Count == 0 {
		p.Count = 3
	}
	if p.Interval == 0 {
		p.Interval = 200 * time.Millisecond
	}
	if p.Wait == 0 {
		p.Wait = 5 * time.Second
	}
	args := []string{
		"-n", "-c", strconv.Itoa(p.Count), "-i", seconds(p.Interval),
		"-W", seconds(p.Wait),
	}
	if p.Size != 0 {
		args = append(args, "-s", strconv.Itoa(p.Size))
	}
	if p.From != "" {
		args = append(args, "-I", p.From)
	}
	if p.DontFragment {
		args = append(args, "-M", "do")
	}
	return append(args, p.To)
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }

// parsePing reads the summary of iputils' ping.
func parsePing(out string) (PingResult, error) {
	r := PingResult{Output: out}
	m := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received(.*)`).FindStringSubmatch(out)
	if m == nil {
		return r, fmt.Errorf("netlab: parse the output of ping: no summary in %q", out)
	}
	r.Sent, r.Received = digits(m[1]), digits(m[2])
	r.Duplicates = firstNumber(`\+(\d+) duplicates`, m[3])
	r.Errors = firstNumber(`\+(\d+) errors`, m[3])
	for line := range strings.Lines(out) {
		if mtu := firstNumber(`mtu ?= ?(\d+)`, line); mtu > 0 {
			r.MTU = mtu
		}
	}
	return r, nil
}

func firstNumber(expression, text string) int {
	if m := regexp.MustCompile(expression).FindStringSubmatch(text); m != nil {
		return digits(m[1])
	}
	return 0
}

// digits is for what \d+ has matched; a number that does not fit becomes the
// largest that does.
func digits(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// PathMTU finds the largest packet, in octets with its IP header, that passes
// to an address and back unfragmented, between 576 (1280 for IPv6) and limit.
// It returns 0 when not even the smallest does.
func (n *Namespace) PathMTU(ctx context.Context, to string, limit int) (int, error) {
	headers, low := 20+8, 576
	if strings.Contains(to, ":") {
		headers, low = 40+8, 1280
	}
	passes := func(size int) (bool, error) {
		// Three requests, so that one lost packet is not taken for a limit.
		r, err := n.Ping(ctx, Ping{To: to, Count: 3, Interval: 20 * time.Millisecond, Size: size - headers, DontFragment: true, Wait: time.Second})
		return r.Received > 0, err
	}
	ok, err := passes(low)
	if err != nil || !ok {
		return 0, err
	}
	for high := limit; low < high; {
		middle := (low + high + 1) / 2
		switch ok, err := passes(middle); {
		case err != nil:
			return 0, err
		case ok:
			low = middle
		default:
			high = middle - 1
		}
	}
	return low, nil
}
