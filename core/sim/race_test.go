//go:build race

package sim_test

// Each run is one goroutine's, so the race detector finds nothing that a few
// runs would not show; and it makes them ten times slower.
const (
	defaultSeeds = 24
	plannedSeeds = 4
	// telling: so many runs show something of everything.
	telling = false
)
