package throughput

import (
	"testing"
	"time"
)

func TestHistogramIsExactToOnePartIn16(t *testing.T) {
	var h histogram
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Microsecond, 0.99: 990 * time.Microsecond} {
		if got := h.quantile(q); got < want || got > want+want/16 {
			t.Errorf("Of 1 to 1000 µs the quantile %v is %v, want %v or a little more.", q, got, want)
		}
	}
	if got := new(histogram).quantile(0.5); got != 0 {
		t.Errorf("Of nothing the median is %v, want 0.", got)
	}
	for _, d := range []time.Duration{0, 1, 15, 16, 17, 1 << 40, 1 << 60, -1} {
		var h histogram
		h.add(d)
		if got := h.quantile(0.5); got < d || got > max(d, 0)+max(d, 0)/16 && got > 0 {
			t.Errorf("Of %d alone the median is %d.", d, got)
		}
	}
}
