package vm

import (
	"fmt"
	"io"
	"strings"
)

// archive writes an initramfs: a cpio archive in the format that the kernel's
// documentation (driver-api/early-userspace/buffer-format) calls newc.
type archive struct {
	w     io.Writer
	inode int
	err   error // the first one; nothing is written after it
}

// File types and permissions of the entries.
const (
	modeDir    = 0o040755
	modeDevice = 0o020600 // a character device
	modeFile   = 0o100755
)

func (a *archive) dir(name string)               { a.entry(name, modeDir, 0, 0, nil) }
func (a *archive) file(name string, data []byte) { a.entry(name, modeFile, 0, 0, data) }

func (a *archive) device(name string, major, minor int) {
	a.entry(name, modeDevice, major, minor, nil)
}

// close writes the end of the archive and returns the first error.
func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, 0, 0, nil)
	return a.err
}

// entry writes a header of fixed width, the name, and the data, the latter two
// padded to a multiple of four octets. Owner, group, time, and the device that
// the file lies on are zero; so is the checksum, which newc does not use.
func (a *archive) entry(name string, mode, major, minor int, data []byte) {
	name = strings.TrimPrefix(name, "/")
	a.inode++
	const links = 1
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.inode, mode, 0, 0, links, 0, len(data), 0, 0, major, minor, len(name)+1, 0)
	a.write([]byte(padded(header+name+"\x00")), data, []byte(padding(len(data))))
}

func (a *archive) write(parts ...[]byte) {
	for _, part := range parts {
		if a.err == nil {
			_, a.err = a.w.Write(part)
		}
	}
}

func padding(n int) string { return strings.Repeat("\x00", -n&3) }

func padded(s string) string { return s + padding(len(s)) }
