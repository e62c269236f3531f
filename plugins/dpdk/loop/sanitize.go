//go:build dpdk && sanitize

package loop

// #cgo CFLAGS: -fsanitize=address,bounds,shift,signed-integer-overflow,integer-divide-by-zero,bool,enum,unreachable
// #cgo LDFLAGS: -fsanitize=address,undefined
import "C"
