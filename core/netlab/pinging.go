package netlab

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

// Pinging is a ping that runs until Stop.
type Pinging struct{ process *Process }

// Reply is the answer to one echo request.
type Reply struct {
	Sequence int       // of the request, from 1
	At       time.Time // when the answer came
	RTT      time.Duration
}

// PingAccount is what came of a ping that was stopped.
type PingAccount struct {
	// Replies are in the order of their arrival, without duplicates.
	Replies []Reply
	// Lost are the requests without a reply, of those before the last that has
	// one: what was sent after it may have been under way.
	Lost []int
}

// StartPing sends echo requests at the ping's interval until Stop. Count and Wait
// do not matter.
func (n *Namespace) StartPing(p Ping) *Pinging {
	n.lab.tb.Helper()
	args := append([]string{"-D"}, p.options()...)
	cmd := exec.CommandContext(context.WithoutCancel(n.lab.tb.Context()), n.lab.Tool("ping"), append(args, p.To)...) // Stop or the lab's clean-up ends it
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	return &Pinging{process: n.Start(cmd)}
}

// WaitFor waits until n more requests were answered than at the call, and ends
// the test when they are not within limit.
func (p *Pinging) WaitFor(n int, limit time.Duration) {
	p.process.tb.Helper()
	before := len(parseReplies(p.process.log.Text()).Replies)
	Eventually(p.process.tb, limit, fmt.Sprintf("%d more echo requests are answered", n), func() error {
		select {
		case <-p.process.done:
			return fmt.Errorf("ping has ended: %s", p.process.log.Tail(5))
		default:
		}
		if got := len(parseReplies(p.process.log.Text()).Replies) - before; got < n {
			return fmt.Errorf("%d were", got)
		}
		return nil
	})
}

// Stop ends the ping and accounts for it.
func (p *Pinging) Stop() PingAccount {
	p.process.tb.Helper()
	// Ping's exit status says whether there were replies; so does the account.
	_ = p.process.stop(syscall.SIGINT, captureLimit)
	return parseReplies(p.process.log.Text())
}

var replyLine = regexp.MustCompile(`(?m)^\[(\d+)\.(\d{6})\] \d+ bytes from .*icmp_seq=(\d+) .*time=([\d.]+) ms$`)

// parseReplies reads the lines that ping -D writes; a line that is not complete
// yet is passed over, and so is that of a duplicate, which ends otherwise.
func parseReplies(out string) PingAccount {
	var a PingAccount
	answered := make(map[int]bool)
	last := 0
	for _, m := range replyLine.FindAllStringSubmatch(out, -1) {
		milliseconds, err := strconv.ParseFloat(m[4], 64)
		if err != nil {
			continue // the pattern lets "1.2.3" pass, ping does not write it
		}
		r := Reply{
			Sequence: digits(m[3]),
			At:       time.Unix(int64(digits(m[1])), int64(digits(m[2]))*int64(time.Microsecond)),
			RTT:      time.Duration(milliseconds * float64(time.Millisecond)),
		}
		a.Replies = append(a.Replies, r)
		answered[r.Sequence] = true
		last = max(last, r.Sequence)
	}
	for sequence := 1; sequence < last; sequence++ {
		if !answered[sequence] {
			a.Lost = append(a.Lost, sequence)
		}
	}
	return a
}
