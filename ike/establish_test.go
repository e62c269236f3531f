package ike_test

import (
	"testing"

	"github.com/evergate/evergate/ike/iketest"
)

func TestEstablish(t *testing.T) { // RFC 7296 section 1.2: two exchanges, one child
	p := iketest.Establish(t)
	p.WantPairs(1)
}
