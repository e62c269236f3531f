package diag

import (
	"bufio"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// Stats are named counters in a fixed order.
type Stats []Counter

// Counter is one of them. Names are words with dots between, ike.drops.message_id,
// or those of a dataplane with hyphens, unknown-spi.
type Counter struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
}

// FromStats names the engine's counters after their fields, which document
// them.
func FromStats(s engine.Stats) Stats {
	var out Stats
	walk(reflect.ValueOf(s), "", func(name string, v uint64) {
		out = append(out, Counter{Name: syncName(name), Value: v})
	})
	return out
}

// syncName gives the counters of ike.SyncStats the names that FortiOS has for
// what a failover makes a cluster and its peers agree on anew:
//
//   - ha.resync: takeovers after which the peer was asked for its Message IDs,
//     because what was taken over may have been behind (RFC 6311)
//   - ha.vike.sync: IKE SAs whose Message IDs were set by that, on either side
//   - ha.conn.sync: pairs of SAs whose sequence numbers were moved by that, on
//     either side
//   - ha.sync.tx: such messages sent, requests and responses
//   - ha.sync.rx: such messages received and taken
//   - ha.sync.rx.len.bad: such messages received whose notification has a length
//     that it cannot have
func syncName(name string) string {
	switch name {
	case "ike.sync.resyncs":
		return "ha.resync"
	case "ike.sync.synced":
		return "ha.vike.sync"
	case "ike.sync.shifted":
		return "ha.conn.sync"
	case "ike.sync.sent":
		return "ha.sync.tx"
	case "ike.sync.received":
		return "ha.sync.rx"
	case "ike.sync.bad_length":
		return "ha.sync.rx.len.bad"
	default:
		return name
	}
}

// FromGroup names the counters of a member's part in its group likewise, all of
// them below ha.
func FromGroup(s engine.ReplicaStats) Stats {
	var out Stats
	walk(reflect.ValueOf(s), "", func(name string, v uint64) {
		out = append(out, Counter{Name: joined("ha", strings.TrimPrefix(name, "ha.")), Value: v})
	})
	return out
}

// FromDataplane takes a dataplane's own counters as they are named there.
func FromDataplane(stats []offload.Stat) Stats {
	out := make(Stats, 0, len(stats))
	for _, s := range stats {
		out = append(out, Counter{Name: s.Name, Value: s.Value})
	}
	return out
}

// WriteStats prints one counter a line, as FortiOS does.
func WriteStats(w io.Writer, s Stats) error {
	b := bufio.NewWriter(w)
	for _, c := range s {
		fmt.Fprintf(b, "%s: %d\n", c.Name, c.Value)
	}
	return b.Flush()
}

func walk(v reflect.Value, name string, count func(string, uint64)) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			walk(v.Field(i), joined(name, snake(v.Type().Field(i).Name)), count)
		}
	case reflect.Array:
		for i := range v.Len() {
			walk(v.Index(i), joined(name, element(name, i)), count)
		}
	case reflect.Int64: // a time.Duration, the only signed counter
		count(name+"_ms", uint64(v.Int())/1e6)
	default:
		count(name, v.Uint())
	}
}

// element names an element of one of the arrays in ike.Stats.
func element(array string, i int) string {
	switch array[strings.LastIndexByte(array, '.')+1:] {
	case "drops":
		return words(ike.Drop(i).String())
	case "failures":
		return words(ike.Failure(i).String())
	default:
		return [...]string{"initiator", "responder"}[i]
	}
}

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + "." + b
}

func words(s string) string {
	return strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(s))
}

// snake turns HalfOpenPeak into half_open_peak, IKERekeys into ike_rekeys and
// InvalidSPIsIn into invalid_spis_in.
func snake(s string) string {
	r := []rune(strings.NewReplacer("SPIs", "Spis", "SAs", "Sas").Replace(s))
	var b strings.Builder
	for i, c := range r {
		if unicode.IsUpper(c) && i > 0 && (unicode.IsLower(r[i-1]) || i+1 < len(r) && unicode.IsLower(r[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

// IsGauge tells whether a counter goes down, too.
func IsGauge(name string) bool {
	switch name {
	case "ike.half_open", "ike.half_open_peak", "ike.tunnels":
		return true
	default:
		return false
	}
}
