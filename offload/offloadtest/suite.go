package offloadtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/offload"
)

// ClauseTimeout bounds each clause. No clause waits for time to pass, so only a
// plane that hangs comes near it.
const ClauseTimeout = 5 * time.Minute

// A Clause is one promise of the contract and the check for it.
type Clause struct {
	// ID is its name in the documentation of package offload.
	ID string
	// Text is the promise.
	Text string

	needs needs
	check func(*probe)
}

// needs says what a clause asks of the harness.
type needs uint8

const (
	traffic needs = 1 << iota
	faults
	links
)

// Outcome of a clause.
type Outcome string

// The outcomes.
const (
	Passed       Outcome = "passed"
	Failed       Outcome = "failed"
	NotExercised Outcome = "not exercised"
)

// Result is what became of one clause.
type Result struct {
	ID      string        `json:"id"`
	Text    string        `json:"text"`
	Outcome Outcome       `json:"outcome"`
	Notes   []string      `json:"notes,omitempty"` // why it failed or was not exercised
	Elapsed time.Duration `json:"elapsed_nanos"`
}

// Report is what became of all clauses.
type Report struct {
	// Info is what the dataplane says of itself, before Configure.
	Info    offload.Info
	Results []Result
}

// Count returns how many clauses had this outcome.
func (r Report) Count(o Outcome) int {
	n := 0
	for _, res := range r.Results {
		if res.Outcome == o {
			n++
		}
	}
	return n
}

// Clauses returns all clauses, in the order in which they are checked.
func Clauses() []Clause {
	return slices.Concat(
		configureClauses(), installClauses(), updateClauses(), batchClauses(),
		epochClauses(), groupClauses(), exportClauses(), statsClauses(), eventClauses(),
		sequenceClauses(), standbyClauses(), armClauses(), linkClauses(),
	)
}

// Select returns the clauses whose ID is one of names, or begins with one of
// names and a dot; all when there are no names. An error lists the names that
// mean nothing.
func Select(names ...string) ([]Clause, error) {
	if len(names) == 0 {
		return Clauses(), nil
	}
	var chosen []Clause
	used := make(map[string]bool)
	for _, c := range Clauses() {
		for _, n := range names {
			if c.ID == n || strings.HasPrefix(c.ID, n+".") {
				used[n] = true
				chosen = append(chosen, c)
				break
			}
		}
	}
	var unknown []error
	for _, n := range names {
		if !used[n] {
			unknown = append(unknown, fmt.Errorf("offloadtest: no clause is called %q", n))
		}
	}
	return chosen, errors.Join(unknown...)
}

// Run checks every clause as a subtest, through gRPC.
func Run(t *testing.T, open Open) {
	t.Helper()
	RunDirect(t, OverGRPC(open))
}

// RunDirect is Run without gRPC in between.
func RunDirect(t *testing.T, open Open) {
	t.Helper()
	for _, c := range Clauses() {
		t.Run(c.ID, func(t *testing.T) {
			switch r := c.Check(t.Context(), open); r.Outcome {
			case Failed:
				t.Errorf("%s\n\t%s", r.Text, strings.Join(r.Notes, "\n\t"))
			case NotExercised:
				t.Logf("not exercised: %s", strings.Join(r.Notes, "; "))
			case Passed:
			}
		})
	}
}

// Check checks clauses one after the other. each, which may be nil, gets every
// result as it comes. The error is that of a dataplane that cannot even be asked
// for its Info, or of ctx.
func Check(ctx context.Context, open Open, clauses []Clause, each func(Result)) (Report, error) {
	var r Report
	err := withPlane(ctx, open, func(h *Harness) (err error) {
		r.Info, err = h.Engine.Info(ctx)
		return err
	})
	if err != nil {
		return r, fmt.Errorf("offloadtest: ask the dataplane what it is: %w", err)
	}
	for _, c := range clauses {
		if err := ctx.Err(); err != nil {
			return r, fmt.Errorf("offloadtest: before clause %s: %w", c.ID, err)
		}
		res := c.Check(ctx, open)
		r.Results = append(r.Results, res)
		if each != nil {
			each(res)
		}
	}
	return r, nil
}

func withPlane(ctx context.Context, open Open, use func(*Harness) error) error {
	h, err := open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(use(h.withDefaults()), h.close())
}

// Check checks one clause on a fresh dataplane.
func (c Clause) Check(ctx context.Context, open Open) Result {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, ClauseTimeout)
	defer cancel()
	p := &probe{ctx: ctx, open: open, outcome: Passed}
	done := make(chan struct{})
	go func() { // of its own, so that fatalf can end it
		defer close(done)
		defer p.closeAll()
		p.run(c)
	}()
	<-done
	return Result{ID: c.ID, Text: c.Text, Outcome: p.outcome, Notes: p.notes, Elapsed: time.Since(start)}
}

func (p *probe) run(c Clause) {
	p.Harness = p.openPlane()
	switch {
	case c.needs&traffic != 0 && p.Traffic == nil:
		p.notExercised("the harness moves no packets")
	case c.needs&links != 0 && p.Links == nil:
		p.notExercised("the harness moves no packets over links")
	case c.needs&faults != 0 && p.Faults == nil:
		p.notExercised("the harness injects no faults")
	}
	c.check(p)
}

// errorf notes a failure and goes on.
func (p *probe) errorf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outcome = Failed
	if len(p.notes) < maxNotes {
		p.notes = append(p.notes, fmt.Sprintf(format, args...))
	}
}

// maxNotes bounds what one clause says: the first failures tell the most.
const maxNotes = 10

// fatalf notes a failure and ends the clause. Only the clause's own goroutine
// may call it.
func (p *probe) fatalf(format string, args ...any) {
	p.errorf(format, args...)
	runtime.Goexit()
}

// notExercised ends the clause without a verdict.
func (p *probe) notExercised(why string) {
	p.mu.Lock()
	p.outcome = NotExercised
	p.notes = append(p.notes, why)
	p.mu.Unlock()
	runtime.Goexit()
}
