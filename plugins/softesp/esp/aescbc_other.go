//go:build !amd64

package esp

// hasFastCBC tells that there is nothing faster than the standard library here.
func hasFastCBC() bool { return false }

func newFastCBC([]byte) (enc, dec settable) { return nil, nil }
