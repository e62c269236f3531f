package cert

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

func newAuthority(t *testing.T, group uint8) *Authority {
	t.Helper()
	a, err := NewAuthority(group, time.Now(), time.Hour)
	if err != nil {
		t.Fatalf("There is no authority: %v.", err)
	}
	return a
}

// issued is a member of an authority's group.
func issued(t *testing.T, a *Authority, m Member) *Identity {
	t.Helper()
	ca, _, err := a.PEM()
	if err != nil {
		t.Fatal(err)
	}
	c, key, err := a.Issue(m, time.Now())
	if err != nil {
		t.Fatalf("Member %d gets no certificate: %v.", m.ID, err)
	}
	i, err := New(ca, c, key, time.Now())
	if err != nil {
		t.Fatalf("The certificate of member %d is no identity: %v.", m.ID, err)
	}
	return i
}

func (i *Identity) chain() []*x509.Certificate { return []*x509.Certificate{i.pair.Leaf} }

func TestMembersKnowEachOther(t *testing.T) { // B4
	a := newAuthority(t, 200)
	one := issued(t, a, Member{ID: 1, Valid: time.Minute})
	two := issued(t, a, Member{ID: 2, Valid: time.Minute, Addrs: []netip.Addr{netip.MustParseAddr("172.31.1.2")}})
	name, err := one.Verify(two.chain(), netip.MustParseAddr("172.31.1.2"), time.Now())
	if want := (Name{Group: 200, Member: 2}); err != nil || name != want {
		t.Errorf("One should know %v, got %v, %v.", want, name, err)
	}
	if _, err := one.Verify(two.chain(), netip.MustParseAddr("::ffff:172.31.1.2"), time.Now()); err != nil {
		t.Errorf("The same address in the form of IPv6 is the same address, got %v.", err)
	}
	if left := time.Until(two.Expires()); left <= 0 || left > time.Minute {
		t.Errorf("The certificate is good for a minute, not %v.", left)
	}
}

func TestWhoIsNoMember(t *testing.T) { // B4
	a, other := newAuthority(t, 1), newAuthority(t, 2)
	us := issued(t, a, Member{ID: 1, Valid: time.Minute})
	us.roots.AddCert(other.cert)
	here := netip.MustParseAddr("192.0.2.1")
	member := issued(t, a, Member{ID: 2, Valid: time.Minute, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.2")}})
	unnamed := func(uris ...string) []*x509.Certificate {
		c := *member.pair.Leaf
		c.URIs = nil
		for _, u := range uris {
			parsed, err := url.Parse(u)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = append(c.URIs, parsed)
		}
		return []*x509.Certificate{&c}
	}
	now := time.Now()
	for name, c := range map[string]struct {
		chain []*x509.Certificate
		at    time.Time
		want  error
	}{
		"nothing":                 {nil, now, ErrUntrusted},
		"a foreign authority":     {issued(t, newAuthority(t, 1), Member{ID: 2, Valid: time.Minute}).chain(), now, ErrUntrusted},
		"an expired certificate":  {member.chain(), now.Add(2 * time.Minute), ErrUntrusted},
		"one of the future":       {member.chain(), now.Add(-2 * time.Hour), ErrUntrusted},
		"the authority itself":    {[]*x509.Certificate{a.cert}, now, ErrUnnamed},
		"another group":           {issued(t, other, Member{ID: 2, Valid: time.Minute}).chain(), now, ErrGroup},
		"another address":         {member.chain(), now, ErrAddress},
		"no name":                 {unnamed("https://example.com"), now, ErrUnnamed},
		"two names":               {unnamed("evergate:group/1/member/2", "evergate:group/1/member/3"), now, ErrUnnamed},
		"a name that is no name":  {unnamed("evergate:group/1/member/16"), now, ErrUnnamed},
		"a name with a wild card": {unnamed("evergate:group/1/member/*"), now, ErrUnnamed},
	} {
		if name2, err := us.Verify(c.chain, here, c.at); !errors.Is(err, c.want) {
			t.Errorf("%s: want %q, got %v, %v.", name, c.want, name2, err)
		}
	}
}

func TestNamesAreWrittenInOneWay(t *testing.T) {
	for group := range 256 {
		for member := range ipsec.MemberID(ipsec.MaxMembers) {
			want := Name{Group: uint8(group), Member: member}
			if got, err := ParseName(want.String()); err != nil || got != want {
				t.Fatalf("%v comes back as %v, %v.", want, got, err)
			}
		}
	}
	for _, bad := range []string{
		"", "evergate:", "group/1/member/2", "evergate:group/1/member/", "evergate:group/256/member/1",
		"evergate:group/1/member/16", "evergate:group/01/member/1", "evergate:group/+1/member/1", "evergate:group/1/member/2/",
		"evergate:Group/1/member/2", "spiffe:group/1/member/2", "evergate:group/1/member/2/member/3",
	} {
		if n, err := ParseName(bad); err == nil {
			t.Errorf("%q is no name, but was read as %v.", bad, n)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("evergate:group/1/member/2")
	f.Add("evergate:group/255/member/15")
	f.Add("evergate:group/01/member/2")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseName(s); err == nil && (n.String() != s || n.check() != nil) {
			t.Errorf("%q was read as %v.", s, n)
		}
	})
}

func TestAuthorityIssuesWithinItsBounds(t *testing.T) {
	a := newAuthority(t, 1)
	for name, m := range map[string]Member{
		"an id above the highest":  {ID: ipsec.MaxMembers, Valid: time.Minute},
		"no lifetime":              {ID: 1},
		"a life above its own":     {ID: 1, Valid: 2 * time.Hour},
		"a lifetime that is spent": {ID: 1, Valid: -time.Minute},
	} {
		if _, _, err := a.Issue(m, time.Now()); err == nil {
			t.Errorf("A member with %s should get no certificate.", name)
		}
	}
	if _, err := NewAuthority(1, time.Now(), 0); err == nil {
		t.Error("An authority without a lifetime should not be made.")
	}
}

func TestAuthorityIsReadBack(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t, 7)
	c, key, err := a.PEM()
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	if err := Save(certFile, c, keyFile, key); err != nil {
		t.Fatalf("The authority cannot be saved: %v.", err)
	}
	back, err := LoadAuthority(certFile, keyFile)
	if err != nil || back.Group() != 7 || !back.Expires().Equal(a.Expires()) {
		t.Fatalf("The authority should come back as it was: %v.", err)
	}
	us := issued(t, a, Member{ID: 1, Valid: time.Minute})
	if _, err := us.Verify(issued(t, back, Member{ID: 2, Valid: time.Minute}).chain(), netip.Addr{}, time.Now()); err != nil {
		t.Errorf("What it issues then is good: %v.", err)
	}
	// A member's certificate is no authority.
	mc, mk, _ := a.Issue(Member{ID: 3, Valid: time.Minute}, time.Now())
	if _, err := ParseAuthority(mc, mk); err == nil {
		t.Error("A member should not be able to issue.")
	}
}

// A member that issues in its own name makes no member.
func TestMemberCannotIssue(t *testing.T) { // B4
	a := newAuthority(t, 1)
	us := issued(t, a, Member{ID: 1, Valid: time.Minute})
	c, key, err := a.Issue(Member{ID: 2, Valid: time.Minute}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := parsePair(c, key)
	if err != nil {
		t.Fatal(err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		t.Fatal("A key signs.")
	}
	rogue := &Authority{group: 1, cert: pair.Leaf, key: signer}
	der, _, err := rogue.sign(Name{Group: 1, Member: 3}, nil, time.Now().Add(-time.Minute), time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := us.Verify([]*x509.Certificate{leaf, pair.Leaf}, netip.Addr{}, time.Now()); !errors.Is(err, ErrUntrusted) {
		t.Errorf("A certificate that member 2 issued should not be trusted, got %v.", err)
	}
}

func TestIdentityMustBeGoodItself(t *testing.T) {
	a := newAuthority(t, 1)
	ca, caKey, _ := a.PEM()
	foreign, _, _ := newAuthority(t, 1).PEM()
	c, key, _ := a.Issue(Member{ID: 1, Valid: time.Minute}, time.Now())
	_, otherKey, _ := a.Issue(Member{ID: 1, Valid: time.Minute}, time.Now())
	for name, try := range map[string]func() (*Identity, error){
		"by a foreign authority":  func() (*Identity, error) { return New(foreign, c, key, time.Now()) },
		"without an authority":    func() (*Identity, error) { return New([]byte("empty"), c, key, time.Now()) },
		"with another's key":      func() (*Identity, error) { return New(ca, c, otherKey, time.Now()) },
		"that has expired":        func() (*Identity, error) { return New(ca, c, key, time.Now().Add(2*time.Minute)) },
		"that names no member":    func() (*Identity, error) { return New(ca, ca, caKey, time.Now()) },
		"that is no certificate":  func() (*Identity, error) { return New(ca, []byte("?"), key, time.Now()) },
		"from files that are not": func() (*Identity, error) { return Load("nowhere", "nowhere", "nowhere", time.Now()) },
	} {
		if _, err := try(); err == nil {
			t.Errorf("An identity %s should not be.", name)
		}
	}
}

func TestKeyThatAnybodyCanReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t, 1)
	ca, _, _ := a.PEM()
	c, key, _ := a.Issue(Member{ID: 1, Valid: time.Minute}, time.Now())
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(path("ca"), ca, 0o600), Save(path("cert"), c, path("key"), key)); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path("ca"), path("cert"), path("key"), time.Now()); err != nil {
		t.Fatalf("The files are good: %v.", err)
	}
	if err := os.Chmod(path("key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path("ca"), path("cert"), path("key"), time.Now()); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("A key that anybody can read should be refused, with a hint; got %v.", err)
	}
	if _, err := Load(dir, path("cert"), path("key"), time.Now()); err == nil {
		t.Error("A directory is no authority.")
	}
}

func TestKeysAreNotPrinted(t *testing.T) { // B4
	a := newAuthority(t, 1)
	_, key, _ := a.Issue(Member{ID: 1, Valid: time.Minute}, time.Now())
	if s := fmt.Sprintf("%v %+v %s", key, key, key); strings.Contains(s, "PRIVATE") {
		t.Error("A key was printed.")
	}
}

func TestSecretMakesTheSameAuthorityEverywhere(t *testing.T) { // B4
	member := func(secret string, group uint8, id ipsec.MemberID) *Identity {
		i, err := FromSecret(ipsec.NewKey([]byte(secret)), Name{Group: group, Member: id})
		if err != nil {
			t.Fatalf("Member %d gets no identity: %v.", id, err)
		}
		return i
	}
	const secret = "0123456789abcdef"
	one, two := member(secret, 1, 1), member(secret, 1, 2)
	anywhere := netip.MustParseAddr("192.0.2.1")
	if name, err := one.Verify(two.chain(), anywhere, time.Now()); err != nil || name.Member != 2 {
		t.Errorf("Who knows the secret is a member, got %v, %v.", name, err)
	}
	if slices.Equal(one.pair.Leaf.RawSubjectPublicKeyInfo, member(secret, 1, 1).pair.Leaf.RawSubjectPublicKeyInfo) {
		t.Error("Each start should have a key of its own.")
	}
	for name, i := range map[string]*Identity{
		"another secret": member("0123456789abcdeF", 1, 2),
		"another group":  member(secret, 2, 2),
	} {
		if _, err := one.Verify(i.chain(), anywhere, time.Now()); !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s makes no member, got %v.", name, err)
		}
	}
}

func TestBadSecretsAndNamesAreRefused(t *testing.T) {
	if _, err := FromSecret(ipsec.NewKey([]byte("short")), Name{Group: 1}); err == nil || strings.Contains(err.Error(), "short") {
		t.Errorf("A short secret should be refused without being told, got %v.", err)
	}
	if _, err := FromSecret(ipsec.NewKey(make([]byte, MinSecret)), Name{Member: ipsec.MaxMembers}); err == nil {
		t.Error("There is no member 16.")
	}
}
