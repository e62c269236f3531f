package engine

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/offload"
)

// held is a dataplane whose calls wait until they are let go, each by the SPI of its
// first SA.
type held struct {
	offload.Engine
	began chan ipsec.SPI
	let   map[ipsec.SPI]chan struct{}
}

func (h *held) Install(_ context.Context, _ offload.Epoch, _ offload.Role, sas ...ipsec.SA) ([]offload.Placement, error) {
	h.began <- sas[0].ID.SPI
	<-h.let[sas[0].ID.SPI]
	return make([]offload.Placement, len(sas)), nil
}

func (h *held) Update(_ context.Context, _ offload.Epoch, changes ...offload.Change) ([]offload.Placement, error) {
	h.began <- changes[0].ID.SPI
	<-h.let[changes[0].ID.SPI]
	return nil, nil
}

// ordering is what one step of the machine orders of an SA.
func ordering(serial uint64, kind ha.OrderKind) []orders {
	id := ipsec.SAID{SPI: ipsec.SPI(serial)}
	return []orders{{serial: serial, list: []ha.Order{{Kind: kind, SAs: []ipsec.SA{{ID: id}}, Changes: []ha.Change{{ID: id}}}}}}
}

// TestInstallsAreUnderWayTogether: a dataplane reads what it is to install next while it
// installs. What it has is told in the order in which it was ordered, whichever it
// finishes first; and what is not a mere Install waits, and is waited for.
func TestInstallsAreUnderWayTogether(t *testing.T) { // F2, I6
	plane := &held{began: make(chan ipsec.SPI, 8), let: make(map[ipsec.SPI]chan struct{})}
	o := newRunning(t, 1, dialupServer()).o
	n, err := ha.New(ha.Config{Member: 1, Members: ha.MembersOf(1, 2), NewDisk: 1}, ha.HardState{})
	if err != nil {
		t.Fatal(err)
	}
	o.Plane, o.Member, o.Replication = plane, 1, &Replication{Node: n, Mesh: nobody{}, Store: nobody{}}
	e := New(o)
	for serial := range ipsec.SPI(5) {
		plane.let[serial+1] = make(chan struct{})
	}
	launched := make(chan struct{})
	go func() {
		defer close(launched)
		f := newFlight(e)
		for serial, kind := range []ha.OrderKind{ha.Install, ha.Install, ha.Update, ha.Install, ha.Install} {
			f.launch(t.Context(), ordering(uint64(serial+1), kind))
		}
		f.land()
	}()
	began := func(want ...ipsec.SPI) {
		t.Helper()
		left := make(map[ipsec.SPI]bool)
		for _, spi := range want {
			left[spi] = true
		}
		for range want {
			select {
			case spi := <-plane.began:
				if !left[spi] {
					t.Fatalf("Portion %d began, want %v.", spi, want)
				}
				delete(left, spi)
			case <-time.After(time.Minute):
				t.Fatalf("Portions %v did not begin.", left)
			}
		}
	}
	carried := func(want ...uint64) {
		t.Helper()
		var told []uint64
		for len(told) < len(want) {
			select {
			case <-e.replica.in.ready:
			case <-time.After(time.Minute):
				t.Fatalf("The portions %v were told, want %v.", told, want)
			}
			for _, m := range e.replica.in.take() {
				told = append(told, m.in.(Node).Input.(ha.Carried).Serial)
			}
		}
		if !slices.Equal(told, want) {
			t.Fatalf("The portions %v were told, want %v.", told, want)
		}
	}
	began(1, 2)
	close(plane.let[2])
	if told := e.replica.in.take(); told != nil {
		t.Errorf("%d portions were told before the first was done.", len(told))
	}
	close(plane.let[1])
	carried(1, 2)
	began(3)
	close(plane.let[3])
	carried(3)
	began(4, 5)
	close(plane.let[4])
	close(plane.let[5])
	carried(4, 5)
	<-launched
}
