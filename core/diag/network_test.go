package diag

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestStatusSaysWhyRoutersSendHere(t *testing.T) { // B7
	speaker := []Neighbor{{
		Address: netip.MustParseAddr("192.0.2.1"), AS: 65000, State: "Established", Uptime: 90 * time.Second,
		Prefixes: 3, Lost: 1, LastError: "session lost: hold timer expired",
	}}
	for _, c := range []struct {
		name    string
		network Network
		want    []string
	}{
		{"alone", Network{Fit: true, Reason: "stands alone"}, []string{"network: fit, stands alone\n\nPHASE1"}},
		{"syncing", Network{Reason: "syncing"}, []string{"network: not fit, syncing\n"}},
		{"stopping", Network{Fit: true, Draining: true, Reason: "synced"}, []string{"network: draining, synced\n"}},
		{"a speaker", Network{
			Fit: true, Reason: "synced", Gateways: []netip.Addr{netip.MustParseAddr("203.0.113.1")}, Owned: 2, Standby: 5, Neighbors: speaker,
		}, []string{
			"announced while fit: [203.0.113.1], 2 networks of own clients, 5 of others\n",
			"NEIGHBOR   AS     STATE        UP     PREFIXES  LOST  LAST ERROR\n",
			"192.0.2.1  65000  Established  1m30s  3         1     session lost: hold timer expired\n",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			if err := WriteStatus(&b, Status{Network: c.network}); err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if !strings.Contains(b.String(), want) {
					t.Errorf("The status lacks %q:\n%s", want, b.String())
				}
			}
		})
	}
}
