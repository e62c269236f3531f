//go:build dpdk && sanitize

package loop

// #cgo CFLAGS: -fsanitize=address,undefined -fno-sanitize=alignment -fno-omit-frame-pointer
// #cgo LDFLAGS: -fsanitize=address,undefined
import "C"
