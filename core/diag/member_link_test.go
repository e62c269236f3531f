package diag

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/offload"
)

func TestLinksAreShownWithTheStatus(t *testing.T) { // F9, B7
	now := time.Unix(1000, 0)
	s := Status{Links: []MemberLink{
		FromLink(engine.LinkStatus{Member: 2, State: "up", Since: now.Add(-time.Minute), Sent: 7, Received: 3, Drops: offload.Drops{Standby: 1}}, now),
		FromLink(engine.LinkStatus{Member: 3, State: "down", Err: errors.New("engine: no session")}, now),
	}}
	var b strings.Builder
	if err := WriteStatus(&b, s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"link to member 2: up for 1m0s, 7 packets sent, 3 received\n",
		"link to member 3: down, 0 packets sent, 0 received; no session\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("The status lacks %q:\n%s", want, b.String())
		}
	}
	if got := s.Links[0].Drops; len(got) != 1 || got["standby"] != 1 {
		t.Errorf("The link's drops should be one of a standby, got %v.", got)
	}
}
