//go:build dpdk

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// hexKey is a key of n octets, as ipsec-secgw reads it. How fast a cipher is does not
// depend on it.
func hexKey(n int) string { return "00" + strings.Repeat(":00", n-1) }

// secgw has ipsec-secgw, an example of DPDK's, encrypt the same packets of a capture
// file with one core, and returns how many a second of its worker's processor time.
// It is 0 when there is no such program.
func (p *player) secgw(ctx context.Context, program string, a algorithm, octets int, length time.Duration) (float64, error) {
	if program == "" {
		return 0, nil
	}
	file := filepath.Join(p.dir, "secgw.pcap")
	config := filepath.Join(p.dir, "secgw.cfg")
	err := errors.Join(
		os.WriteFile(file, packets([]byte{2, 0, 0, 0, 0, 1}, octets), 0o600),
		os.WriteFile(config, []byte(fmt.Sprintf(`sp ipv4 out esp protect 5 pri 1 src 0.0.0.0/0 dst 10.2.0.0/24 sport 0:65535 dport 0:65535
sa out 5 %[1]s mode ipv4-tunnel src 192.0.2.1 dst 192.0.2.2
sp ipv4 in esp protect 6 pri 1 src 0.0.0.0/0 dst 10.1.0.0/24 sport 0:65535 dport 0:65535
sa in 6 %[1]s mode ipv4-tunnel src 192.0.2.2 dst 192.0.2.1
rt ipv4 dst 192.0.2.2/32 port 1
neigh port 1 02:00:00:00:00:01
`, a.secgw)), 0o600)) // it wants an inbound SA, which nothing is for
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "stdbuf", "-oL", program,
		"--no-huge", "--no-pci", "-m", "512", "-l", "1", "--log-level=error", "--file-prefix", "secgw"+strconv.Itoa(os.Getpid()),
		"--vdev", a.limit[1]+"0", "--vdev", "net_pcap0,rx_pcap="+file+",infinite_rx=1", "--vdev", "net_null0,no-rx=1",
		"--", "-l", "-P", "-p", "3", "-u", "2", "-j", "9728", "--mtu", "9000", "-s", "4096", "-t", "1", "--config", "(0,0,1),(1,0,1)", "-f", config)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start ipsec-secgw: %w", err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // it was killed
	}()
	return secgwRate(out, cmd.Process.Pid, length)
}

// secgwRate reads what the program says each second of the packets that it sent, and
// compares two of these reports that are some time apart.
func secgwRate(from io.Reader, pid int, length time.Duration) (float64, error) {
	lines := bufio.NewScanner(from)
	var first, start float64
	for lines.Scan() {
		text, is := strings.CutPrefix(lines.Text(), "Total packets sent:")
		if !is {
			continue
		}
		sent, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil {
			return 0, fmt.Errorf("read %q: %w", lines.Text(), err)
		}
		now := busy(pid, "ipsec-secgw").Seconds()
		switch {
		case sent == 0:
		case first == 0:
			first, start = sent, now
		case now-start >= length.Seconds()/2 && now > start:
			return (sent - first) / (now - start), nil
		}
	}
	return 0, errors.Join(errors.New("ipsec-secgw ended before it sent anything"), lines.Err())
}
