package pluginrpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/ipsec/field"
	"github.com/evergate/evergate/offload"
	offloadv1 "github.com/evergate/evergate/offload/proto/offload/v1"
)

// Install is the call that carries SAs by the hundred thousand, when a member joins
// or a dataplane begins anew. Its two messages are written and read without the
// generated ones between (package field); what is on the wire is the same.

// usualSA is about how many octets an SA takes as a message, unless it has many
// selectors.
const usualSA = 256

// installRequest is an InstallRequest as it is read.
type installRequest struct {
	// InstallRequest is filled in by codecs that do not know us: those of servers
	// that were not made by NewServer.
	*offloadv1.InstallRequest
	epoch offload.Epoch
	role  offload.Role
	sas   []ipsec.SA
	// read: the three above are what came. invalid is what of it the Go types
	// cannot say.
	read    bool
	invalid error
}

// decode implements decodes.
func (m *installRequest) decode(b []byte) error {
	m.read = true
	var err error
	m.sas = make([]ipsec.SA, 0, field.Count(b, 3))
	for r := field.NewReader(b, &err); r.Next(); {
		switch r.Field() {
		case 1:
			m.epoch = offload.Epoch(r.Fixed64())
		case 2:
			m.role = decodeRole(offloadv1.Role(r.Int()))
		case 3:
			m.sas = append(m.sas, ipsec.SA{})
			readSA(&r, &m.sas[len(m.sas)-1])
		}
	}
	if errors.Is(err, field.ErrRange) {
		m.invalid = fmt.Errorf("%w: %w", offload.ErrInvalid, err)
		return nil
	}
	return err
}

// writeSA writes an SA as a field.
func writeSA(w *field.Writer, num uint64, sa *ipsec.SA) {
	m := w.Begin(num)
	w.SAID(1, sa.ID)
	w.Uint(2, uint64(sa.Direction))
	w.Int(3, int64(sa.Mode)+int64(offloadv1.Mode_MODE_TUNNEL))
	w.Fixed64(4, uint64(sa.Tunnel))
	w.Fixed32(5, uint32(sa.Pair))
	w.Uint(6, uint64(sa.Group))
	w.Uint(7, uint64(sa.Sender))
	w.Uint(8, sa.Generation)
	algorithms := w.Begin(9)
	w.Uint(1, uint64(sa.Algorithms.Encryption))
	w.Uint(2, uint64(sa.Algorithms.KeyBits))
	w.Uint(3, uint64(sa.Algorithms.Integrity))
	w.Bool(4, sa.Algorithms.ESN)
	w.End(algorithms)
	w.Bytes(10, sa.Encryption.Reveal())
	w.Bytes(11, sa.Integrity.Reveal())
	w.Addr(12, sa.Local)
	w.Addr(13, sa.Remote)
	w.Encap(14, sa.Encap)
	selectors := w.Begin(15)
	w.Selectors(1, sa.Selectors.Local)
	w.Selectors(2, sa.Selectors.Remote)
	w.End(selectors)
	lifetime := w.Begin(16)
	w.Limits(1, sa.Lifetime.Soft)
	w.Limits(2, sa.Lifetime.Hard)
	w.Int(3, int64(sa.Lifetime.Age))
	w.End(lifetime)
	w.Uint(17, uint64(sa.ReplayWindow))
	w.Sequence(18, sa.Sequence)
	w.Uint(19, uint64(sa.PathMTU))
	header := w.Begin(20)
	w.Int(1, int64(sa.Header.DF)+int64(offloadv1.DFPolicy_DF_POLICY_COPY))
	w.Bool(2, sa.Header.HideDSCP)
	w.Uint(3, uint64(sa.Header.DSCP))
	w.End(header)
	if sa.Link != nil {
		link := w.Begin(21)
		w.Uint(1, uint64(sa.Link.Member))
		w.End(link)
	}
	w.End(m)
}

// readSA reads the present field into an empty SA, which has keys of its own.
func readSA(r *field.Reader, sa *ipsec.SA) {
	body := new(field.Body)
	var mode, df int64
	m := r.Message()
	for m.Next() {
		switch m.Field() {
		case 1:
			m.SAID(&sa.ID)
		case 2:
			sa.Direction = field.Narrow[ipsec.Direction](&m, "sa.direction")
		case 3:
			mode = m.Int()
		case 4:
			sa.Tunnel = ipsec.TunnelID(m.Fixed64())
		case 5:
			sa.Pair = ipsec.SPI(m.Fixed32())
		case 6:
			sa.Group = field.Narrow[ipsec.MemberID](&m, "sa.group")
		case 7:
			sa.Sender = field.Narrow[ipsec.MemberID](&m, "sa.sender")
		case 8:
			sa.Generation = m.Uint()
		case 9:
			readAlgorithms(&m, &sa.Algorithms)
		case 10:
			sa.Encryption = ipsec.CopyKey(m.Bytes())
		case 11:
			sa.Integrity = ipsec.CopyKey(m.Bytes())
		case 12:
			sa.Local = m.Addr("sa.local")
		case 13:
			sa.Remote = m.Addr("sa.remote")
		case 14:
			sa.Encap = body.Encap()
			m.Encap(sa.Encap)
		case 15:
			readSelectors(&m, body, &sa.Selectors)
		case 16:
			readLifetime(&m, &sa.Lifetime)
		case 17:
			sa.ReplayWindow = field.Narrow[uint32](&m, "sa.replay_window")
		case 18:
			m.Sequence(&sa.Sequence)
		case 19:
			sa.PathMTU = field.Narrow[uint16](&m, "sa.path_mtu")
		case 20:
			df = readHeader(&m, &sa.Header, df)
		case 21:
			if sa.Link == nil {
				sa.Link = new(ipsec.Link)
			}
			readLink(&m, sa.Link)
		}
	}
	sa.Mode = ipsec.Mode(fromOne(&m, "sa.mode", mode, int64(ipsec.Transport)))
	sa.Header.DF = ipsec.DFPolicy(fromOne(&m, "header_policy.df", df, int64(ipsec.DFClear)))
}

// fromOne is a value of ours whose numbers begin at 0 and end at last, and in the
// message at 1.
func fromOne(m *field.Reader, name string, v, last int64) uint8 {
	if v < 1 || v > last+1 {
		m.OutOfRange(name, v)
		return 0
	}
	return uint8(v - 1)
}

func readAlgorithms(r *field.Reader, a *ipsec.Algorithms) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			a.Encryption = field.Narrow[ipsec.EncryptionID](&m, "algorithms.encryption")
		case 2:
			a.KeyBits = field.Narrow[uint16](&m, "algorithms.key_bits")
		case 3:
			a.Integrity = field.Narrow[ipsec.IntegrityID](&m, "algorithms.integrity")
		case 4:
			a.ESN = m.Bool()
		}
	}
}

func readSelectors(r *field.Reader, body *field.Body, s *ipsec.Selectors) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			body.Local(s, m.Selector())
		case 2:
			body.Remote(s, m.Selector())
		}
	}
}

func readLifetime(r *field.Reader, l *ipsec.Lifetime) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			m.Limits(&l.Soft)
		case 2:
			m.Limits(&l.Hard)
		case 3:
			l.Age = time.Duration(m.Int())
		}
	}
}

// readHeader returns the number of the DF policy, df where it is not there.
func readHeader(r *field.Reader, h *ipsec.HeaderPolicy, df int64) int64 {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			df = m.Int()
		case 2:
			h.HideDSCP = m.Bool()
		case 3:
			h.DSCP = field.Narrow[uint8](&m, "header_policy.dscp")
		}
	}
	return df
}

func readLink(r *field.Reader, l *ipsec.Link) {
	for m := r.Message(); m.Next(); {
		if m.Field() == 1 {
			l.Member = field.Narrow[ipsec.MemberID](&m, "link.member")
		}
	}
}

// installResponse is an InstallResponse as it is read.
type installResponse struct{ placements []offload.Placement }

// decode implements decodes.
func (m *installResponse) decode(b []byte) error {
	var err error
	n := field.Count(b, 1)
	m.placements = slices.Grow(m.placements, n)
	ids := make([]offload.SelectorID, 0, n) // most have one
	for r := field.NewReader(b, &err); r.Next(); {
		if r.Field() == 1 {
			m.placements = append(m.placements, offload.Placement{})
			ids = readPlacement(&r, &m.placements[len(m.placements)-1], ids)
		}
	}
	return err
}

// usualPlacement is about how many octets a Placement takes as a message.
const usualPlacement = 32

// encodePlacements makes an InstallResponse.
func encodePlacements(placed []offload.Placement) encoded {
	w := field.NewWriter(make([]byte, 0, len(placed)*usualPlacement))
	for i := range placed {
		p := &placed[i]
		m := w.Begin(1)
		w.SAID(1, p.ID)
		w.Uint(2, uint64(p.NPU))
		field.Uints(w, 3, p.SelectorIDs)
		w.Int(4, int64(encodeNoNPU(p.WhyNot)))
		w.Uint(5, uint64(p.Role))
		if p.Err != nil {
			writeItemError(w, 6, p.Err)
		}
		w.End(m)
	}
	return w.Message()
}

func writeItemError(w *field.Writer, num uint64, err error) {
	e := encodeItemError(err)
	m := w.Begin(num)
	w.Int(1, int64(e.GetCode()))
	w.String(2, e.GetText())
	w.End(m)
}

// readPlacement reads the present field into an empty Placement, whose selector ids
// it appends to those of others. It returns them all.
func readPlacement(r *field.Reader, p *offload.Placement, ids []offload.SelectorID) []offload.SelectorID {
	first := len(ids)
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			m.SAID(&p.ID)
		case 2:
			p.NPU = field.Narrow[offload.NPUID](&m, "placement.npu")
		case 3:
			m.Uints(func(v uint64) { ids = append(ids, offload.SelectorID(v)) })
		case 4:
			p.WhyNot = decodeNoNPU(offloadv1.NoNPU(m.Int()))
		case 5:
			p.Role = decodeRole(offloadv1.Role(m.Int()))
		case 6:
			p.Err = decodeItemError(readItemError(&m))
		}
	}
	if len(ids) > first {
		p.SelectorIDs = slices.Clip(ids[first:])
	}
	return ids
}

func readItemError(r *field.Reader) *offloadv1.Error {
	e := new(offloadv1.Error)
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			e.Code = offloadv1.ErrorCode(m.Int())
		case 2:
			e.Text = string(m.Bytes())
		}
	}
	return e
}

// Install implements offload.Engine. On an error the placements are those of
// the parts that were carried out before.
func (c *Client) Install(ctx context.Context, e offload.Epoch, r offload.Role, sas ...ipsec.SA) ([]offload.Placement, error) {
	answers := make([]offload.Placement, 0, len(sas))
	for first := true; first || len(sas) > 0; first = false {
		part, n := encodeInstall(e, r, sas)
		answer := installResponse{answers[len(answers):]}
		if err := c.conn.Invoke(ctx, offloadv1.OffloadService_Install_FullMethodName, part, &answer, large()); err != nil {
			return answers, decodeError("install", err)
		}
		if len(answer.placements) != n {
			return answers, wrongNumber("install", n, len(answer.placements))
		}
		answers, sas = append(answers, answer.placements...), sas[n:]
	}
	return answers, nil
}

// encodeInstall makes an InstallRequest of as many SAs as go into one message, and
// tells how many these are. An empty batch is one message: it too tells whether the
// dataplane is there.
func encodeInstall(e offload.Epoch, r offload.Role, sas []ipsec.SA) (m encoded, n int) {
	w := field.NewWriter(make([]byte, 0, (min(len(sas), MaxBatch)+1)*usualSA))
	w.Fixed64(1, uint64(e))
	w.Uint(2, uint64(r))
	for n < min(len(sas), MaxBatch) {
		before := len(w.Message())
		writeSA(w, 3, &sas[n])
		if n > 0 && len(w.Message()) > batchOctets {
			return w.Message()[:before], n
		}
		n++
	}
	return w.Message(), n
}

func (s *server) install(ctx context.Context, m *installRequest) (encoded, error) {
	if m.invalid != nil {
		return nil, encodeError(m.invalid)
	}
	placed, err := s.engine.Install(ctx, m.epoch, m.role, m.sas...)
	if err != nil {
		return nil, encodeError(err)
	}
	return encodePlacements(placed), nil
}

// handleInstall is the handler of the call, as gRPC wants it.
func handleInstall(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // gRPC has the context there
	m := &installRequest{InstallRequest: new(offloadv1.InstallRequest)}
	if err := decode(m); err != nil {
		return nil, err
	}
	carryOut := func(ctx context.Context, _ any) (any, error) {
		s, ok := srv.(*server)
		if !ok {
			return nil, fmt.Errorf("pluginrpc: install: served by a %T", srv)
		}
		if !m.read {
			return s.installMessage(ctx, m)
		}
		return s.install(ctx, m)
	}
	if intercept == nil {
		return carryOut(ctx, m)
	}
	return intercept(ctx, m, &grpc.UnaryServerInfo{Server: srv, FullMethod: offloadv1.OffloadService_Install_FullMethodName}, carryOut)
}

// installMessage is install where the server's codec made a message of what came,
// and wants one to send.
func (s *server) installMessage(ctx context.Context, m *installRequest) (*offloadv1.InstallResponse, error) {
	b, err := proto.Marshal(m.InstallRequest)
	if err != nil {
		return nil, fmt.Errorf("pluginrpc: install: %w", err)
	}
	if err := m.decode(b); err != nil {
		return nil, fmt.Errorf("pluginrpc: install: %w", err)
	}
	answer, err := s.install(ctx, m)
	if err != nil {
		return nil, err
	}
	out := new(offloadv1.InstallResponse)
	if err := proto.Unmarshal(answer, out); err != nil {
		return nil, fmt.Errorf("pluginrpc: install: %w", err)
	}
	return out, nil
}
