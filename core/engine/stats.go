package engine

import (
	"reflect"

	"github.com/evergate/evergate/ike"
)

// Stats counts what a shard did. Nothing is reset.
type Stats struct {
	IKE ike.Stats

	InboxFull    uint64 // messages dropped because the shard is behind
	QueueFull    uint64 // messages dropped because a tunnel waits for the dataplane
	Refused      uint64 // SAs that the dataplane did not take
	PlaneErrors  uint64 // calls and changes that failed
	LeasesRaised uint64
	Reinstalled  uint64 // SAs put back into a dataplane that lost them
	StraySAs     uint64 // SAs that nobody knew, deleted from the dataplane

	// Restored tunnels came from other members, Lost went to them;
	// RestoreFailed could not be brought to life.
	Restored, Lost, RestoreFailed uint64
	// Rested are messages of peers that a subordinate of a unit did not take, and
	// those to peers that it did not send.
	Rested uint64
}

// Stats is a copy of the shard's counters.
func (s *Shard) Stats() Stats { return *s.stats }

// Add adds o to s, field by field. The peaks of shards add up to an upper bound
// of the peak.
func (s *Stats) Add(o Stats) { addFields(reflect.ValueOf(s).Elem(), reflect.ValueOf(o)) }

func addFields(sum, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			addFields(sum.Field(i), v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			addFields(sum.Index(i), v.Index(i))
		}
	case reflect.Uint64:
		sum.SetUint(sum.Uint() + v.Uint())
	case reflect.Int64:
		sum.SetInt(sum.Int() + v.Int())
	default:
		panic("engine: a counter of kind " + v.Kind().String() + " cannot be added up")
	}
}
