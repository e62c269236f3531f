package pluginhost

import (
	"testing"

	"github.com/evergate/evergate/offload"
)

// TestStatsGoOnWhenAPluginIsReplaced: what was counted stays, also when an answer
// overtakes another one.
func TestStatsGoOnWhenAPluginIsReplaced(t *testing.T) { // B6
	first, second := new(process), new(process)
	var sum tally
	for _, c := range []struct {
		when  string
		from  *process
		value uint64
		want  uint64
	}{
		{"at first", first, 5, 5},
		{"later", first, 8, 8},
		{"from an answer that was overtaken", first, 7, 8},
		{"from the next process", second, 2, 10},
		{"from it later", second, 3, 11},
	} {
		got := sum.add(c.from, []offload.Stat{{Name: "no-sa", Value: c.value}, {Name: "short"}})
		if got[0] != (offload.Stat{Name: "no-sa", Value: c.want}) || got[1] != (offload.Stat{Name: "short"}) {
			t.Errorf("Counted %s, %d should make %d, got %+v.", c.when, c.value, c.want, got)
		}
	}
	sum.add(second, []offload.Stat{{Name: "other"}})
	if len(sum.before) != 1 || len(sum.last) != 1 {
		t.Errorf("Names that are gone should be forgotten, got %v and %v.", sum.before, sum.last)
	}
}
