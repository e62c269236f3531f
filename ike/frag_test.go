package ike

import (
	"bytes"
	"testing"

	"github.com/evergate/evergate/ike/wire"
)

func fragment(number, total uint16) *wire.SKF {
	f := &wire.SKF{Number: number, Total: total}
	if number == 1 {
		f.First = wire.PayloadNotify
	}
	return f
}

func TestJoin(t *testing.T) { // RFC 7383 section 2.6
	var p parts
	for _, n := range []uint16{3, 1, 3} {
		if _, _, whole, err := p.join(fragment(n, 3), []byte{byte(n)}); whole || err != nil {
			t.Fatalf("fragment %d of 3: whole %t, error %v", n, whole, err)
		}
	}
	first, all, whole, err := p.join(fragment(2, 3), []byte{2})
	if !whole || err != nil || first != wire.PayloadNotify || !bytes.Equal(all, []byte{1, 2, 3}) {
		t.Fatalf("the last fragment gives %v, %x, whole %t, error %v", first, all, whole, err)
	}
}

func TestJoinMixedTotals(t *testing.T) {
	var p parts
	must := func(n, total uint16, body string) (string, bool) {
		t.Helper()
		_, all, whole, err := p.join(fragment(n, total), []byte(body))
		if err != nil {
			t.Fatalf("fragment %d of %d: %v", n, total, err)
		}
		return string(all), whole
	}
	must(1, 2, "large ")
	must(2, 3, "b") // the peer has begun again with smaller fragments
	if _, _, _, err := p.join(fragment(2, 2), []byte("late")); err == nil {
		t.Error("a fragment of the older, smaller total was taken")
	}
	must(1, 3, "a")
	if all, whole := must(3, 3, "c"); !whole || all != "abc" {
		t.Errorf("joined %q, whole %t, want abc", all, whole)
	}
}

func TestJoinIsBounded(t *testing.T) {
	var p parts
	if _, _, _, err := p.join(fragment(1, maxFragments+1), nil); err == nil {
		t.Error("more fragments than the limit were begun")
	}
	for n := uint16(1); n <= 100; n++ {
		if _, _, _, err := p.join(fragment(n, 128), make([]byte, 1000)); err != nil {
			if n < 60 {
				t.Errorf("refused after %d fragments of 1000 octets", n)
			}
			return
		}
	}
	t.Errorf("%d octets were collected, want at most %d", p.octets, maxMessage)
}
