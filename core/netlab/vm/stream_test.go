package vm

import (
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab/vm/job"
)

func TestTheConsoleKnowsHowTheCommandEnded(t *testing.T) {
	for _, want := range []job.Result{{Status: 0}, {Status: 137}, {Broken: "modprobe esp5: not found"}} {
		c := &console{}
		// The console is a terminal, and the kernel writes where it pleases.
		text := "[    1.0] booting\r\n[    2.0] noise " + strings.ReplaceAll(want.Line(), "\n", "\r\n") + "[    3.0] power down"
		for i := range text { // in pieces of any size
			c.Write([]byte(text[i : i+1]))
		}
		if got, ok := c.result(); !ok || got != want {
			t.Errorf("The console understood %+v (%v), not %+v.", got, ok, want)
		}
		if got := c.tail(); got != "[    1.0] booting\n[    3.0] power down" {
			t.Errorf("What else it said is kept as %q.", got)
		}
	}
}

func TestTheConsoleTellsThatTheMachineIsUp(t *testing.T) {
	told := 0
	c := &console{onUp: func() { told++ }}
	c.Write([]byte("[    1.0] booting\r\n[    2.0] noise " + strings.TrimSuffix(job.UpLine, "\n")))
	if c.up || told != 0 {
		t.Error("It told so before the line's end.")
	}
	c.Write([]byte("\r\n[    3.0] more\r\n"))
	if !c.up || told != 1 {
		t.Errorf("It told so %d times.", told)
	}
	if got := c.tail(); got != "[    1.0] booting\n[    3.0] more" {
		t.Errorf("What else it said is kept as %q.", got)
	}
}

func TestAConsoleWithoutTheEndHasNoResult(t *testing.T) {
	c := &console{}
	c.Write([]byte("evergate-vm: exit \nevergate-vm: exit seven\nevergate-vm: exit 3")) // cut off
	if r, ok := c.result(); ok {
		t.Errorf("It understood %+v.", r)
	}
}

func TestTheConsoleKeepsItsLastLines(t *testing.T) {
	c := &console{}
	c.Write([]byte("first\n" + strings.Repeat(strings.Repeat("x", 2*keptOfLine)+"\n", keptLines) + "last"))
	kept := c.tail()
	if strings.Contains(kept, "first") || !strings.HasSuffix(kept, "last") || len(kept) > (keptLines+1)*(keptOfLine+1) {
		t.Errorf("It keeps %d octets, which end with %q.", len(kept), kept[max(0, len(kept)-10):])
	}
}
