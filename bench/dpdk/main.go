//go:build dpdk

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/evergate/evergate/bench/report"
	"github.com/evergate/evergate/core/ipsec"
)

// algorithm is what is measured, by the names that each side has for it.
type algorithm struct {
	name         string
	of           ipsec.Algorithms
	limit        []string // arguments of dpdk-test-crypto-perf
	seals, opens []string // more of them, for one direction
	secgw        string   // what a line of ipsec-secgw's configuration says of it
}

// Figure is what one packet size came to in one direction.
type Figure struct {
	Algorithm string  `json:"algorithm"`
	Direction string  `json:"direction"`
	Octets    int     `json:"octets"`
	Packets   float64 `json:"packets_per_second"`
	Limit     float64 `json:"limit_packets_per_second"`
	// FromFile and Gateway got their packets from a capture file: this dataplane and
	// ipsec-secgw. Outbound only, as no file has new sequence numbers each time.
	FromFile float64 `json:"from_file_packets_per_second"`
	Gateway  float64 `json:"ipsec_secgw_packets_per_second"`
}

// The directions that are measured.
const (
	outward = "outbound"
	inward  = "inbound"
)

func algorithms() []algorithm {
	return []algorithm{
		{
			"aes128gcm",
			ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128},
			[]string{
				"--devtype", "crypto_aesni_gcm", "--optype", "aead", "--aead-algo", "aes-gcm",
				"--aead-key-sz", "16", "--aead-iv-sz", "12", "--aead-aad-sz", "8", "--digest-sz", "16",
			},
			[]string{"--aead-op", "encrypt"},
			[]string{"--aead-op", "decrypt"},
			"aead_algo aes-128-gcm aead_key " + hexKey(20),
		},
		{
			"aes128-sha1",
			ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96},
			[]string{
				"--devtype", "crypto_aesni_mb", "--cipher-algo", "aes-cbc", "--cipher-key-sz", "16", "--cipher-iv-sz", "16",
				"--auth-algo", "sha1-hmac", "--auth-key-sz", "64", "--digest-sz", "12",
			},
			[]string{"--optype", "cipher-then-auth", "--cipher-op", "encrypt", "--auth-op", "generate"},
			[]string{"--optype", "auth-then-cipher", "--cipher-op", "decrypt", "--auth-op", "verify"},
			"cipher_algo aes-128-cbc cipher_key " + hexKey(16) + " auth_algo sha1-hmac auth_key " + hexKey(20),
		},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "dpdk:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to do
	}
}

func run(ctx context.Context) error {
	rounds := flag.Int("rounds", 3, "how often each size is measured; the best counts")
	length := flag.Duration("time", time.Second, "how long a round takes")
	gateway := flag.String("ipsec-secgw", "", "DPDK's own gateway, to be measured too")
	what := flag.String("measure", "limit,memory,file,ipsec-secgw", "what is measured")
	names := flag.String("algorithms", "aes128gcm,aes128-sha1", "which ones")
	directions := flag.String("directions", outward+","+inward, "which way packets go")
	sizes := flag.String("sizes", "64,512,1420,8192", "octets of inner packets")
	cryptodevs := flag.String("cryptodevs", "crypto_aesni_gcm,crypto_aesni_mb", "libraries of ciphers, as in the plugin's settings")
	flag.Parse()
	dir, err := os.MkdirTemp("", "evergate-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system cleans up what is left
	p, err := newPlayer(dir, *cryptodevs)
	if err != nil {
		return err
	}
	var figures []Figure
	wanted, err := wants(*names, *directions, *sizes)
	if err != nil {
		return err
	}
	for _, w := range wanted {
		f := Figure{Algorithm: w.name, Direction: w.direction, Octets: w.octets}
		for range *rounds {
			if err := p.round(ctx, &f, w.algorithm, strings.Split(*what, ","), *gateway, *length); err != nil {
				return fmt.Errorf("%s, %s, %d octets: %w", w.name, w.direction, w.octets, err)
			}
		}
		figures = append(figures, f)
		fmt.Fprintf(os.Stderr, "%s, %s, %d octets: %.2f Gbit/s of %.2f\n", f.Algorithm, f.Direction, f.Octets, f.bits(f.Packets), f.bits(f.Limit))
	}
	return show(figures, *rounds, *length)
}

// want is what a figure is of.
type want struct {
	algorithm
	direction string
	octets    int
}

// wants reads lists of algorithms, directions and sizes.
func wants(names, directions, sizes string) ([]want, error) {
	var out []want
	for _, a := range algorithms() {
		if !slices.Contains(strings.Split(names, ","), a.name) {
			continue
		}
		for direction := range strings.SplitSeq(directions, ",") {
			for size := range strings.SplitSeq(sizes, ",") {
				octets, err := strconv.Atoi(size)
				if err != nil || octets < 64 || octets > 9000 {
					return nil, fmt.Errorf("sizes: %q is no size of a packet", size)
				}
				out = append(out, want{a, direction, octets})
			}
		}
	}
	return out, nil
}

// measurement is one of the things that are measured, and the best of it so far.
type measurement struct {
	name string
	best *float64
	once func() (float64, error)
}

// measurements are those of a figure's direction.
func (p *player) measurements(ctx context.Context, f *Figure, a algorithm, gateway string, length time.Duration) ([]measurement, error) {
	switch f.Direction {
	case outward:
		return []measurement{
			{"limit", &f.Limit, func() (float64, error) { return p.limit(ctx, slices.Concat(a.limit, a.seals), f.Octets) }},
			{"memory", &f.Packets, func() (float64, error) { return p.measure(ctx, fromNull, a.of, f.Octets, length) }},
			{"file", &f.FromFile, func() (float64, error) { return p.measure(ctx, fromFile, a.of, f.Octets, length) }},
			{"ipsec-secgw", &f.Gateway, func() (float64, error) { return p.secgw(ctx, gateway, a, f.Octets, length) }},
		}, nil
	case inward:
		return []measurement{
			{"limit", &f.Limit, func() (float64, error) { return p.limit(ctx, slices.Concat(a.limit, a.opens), f.Octets) }},
			{"memory", &f.Packets, func() (float64, error) { return p.inbound(ctx, a.of, f.Octets, length) }},
		}, nil
	default:
		return nil, fmt.Errorf("directions: %q is neither %s nor %s", f.Direction, outward, inward)
	}
}

// round measures everything that is asked for once, one after the other, and keeps
// what was better than before.
func (p *player) round(ctx context.Context, f *Figure, a algorithm, what []string, gateway string, length time.Duration) error {
	measurements, err := p.measurements(ctx, f, a, gateway, length)
	if err != nil {
		return err
	}
	for _, m := range measurements {
		if !slices.Contains(what, m.name) {
			continue
		}
		rate, err := m.once()
		if err != nil {
			return err
		}
		*m.best = max(*m.best, rate)
	}
	return nil
}

// bits is a rate of packets in Gbit/s of what they carry.
func (f Figure) bits(packets float64) float64 { return packets * float64(f.Octets) * 8 / 1e9 }

// show writes the tables and the line of JSON.
func show(figures []Figure, rounds int, length time.Duration) error {
	r := report.Report{
		Title: "One worker of the DPDK dataplane, tunnel mode",
		Conditions: []string{
			fmt.Sprintf("%s, %d processors, load %s", runtime.GOARCH, runtime.NumCPU(), load()),
			fmt.Sprintf("best of %d rounds of %v; by processor time of the worker; the limit is dpdk-test-crypto-perf's", rounds, length),
		},
		Result: map[string]any{"benchmark": "dpdk", "load": load(), "figures": figures},
	}
	out := report.Table{Header: []string{outward, "octets", "Mpps", "Gbit/s", "limit", "of the limit", "from a file", "ipsec-secgw", "to ipsec-secgw"}}
	in := report.Table{Header: []string{inward, "octets", "Mpps", "Gbit/s", "limit", "of the limit"}}
	for _, f := range figures {
		cells := []any{
			f.Algorithm, f.Octets, fmt.Sprintf("%.2f", f.Packets/1e6), fmt.Sprintf("%.1f", f.bits(f.Packets)),
			fmt.Sprintf("%.1f", f.bits(f.Limit)), fmt.Sprintf("%.0f %%", 100*f.Packets/f.Limit),
		}
		if f.Direction == inward {
			in.Add(cells...)
			continue
		}
		gateway, ratio := "not measured", ""
		if f.Gateway > 0 {
			gateway, ratio = fmt.Sprintf("%.1f", f.bits(f.Gateway)), fmt.Sprintf("%.2f", f.FromFile/f.Gateway)
		}
		out.Add(append(cells, fmt.Sprintf("%.1f", f.bits(f.FromFile)), gateway, ratio)...)
	}
	for _, t := range []report.Table{out, in} {
		if len(t.Rows) > 0 {
			r.Tables = append(r.Tables, t)
		}
	}
	return r.Write(os.Stdout)
}

// load is how much there was to do in the last minute, as the kernel says it.
func load() string {
	b, err := os.ReadFile(filepath.Join("/proc", "loadavg"))
	if err != nil || len(b) < 4 {
		return "unknown"
	}
	return string(b[:4])
}
