package gateway

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/ha/transport/cert"
)

// trust is what the members of a site know each other by: certificates of an
// authority of their own. A secret would do as well, but stretching it takes a daemon a
// fraction of a second whenever it starts, and seconds under the race detector.
type trust struct{ dir string }

// siteGroup is the number of a site's group or unit.
const siteGroup = 1

// newTrust writes the authority's certificate, and one for each of n members, whose
// ids count from 1.
func newTrust(lab *netlab.Lab, n int) trust {
	lab.TB().Helper()
	t := trust{dir: lab.File("trust")}
	if err := t.issue(n, time.Now()); err != nil {
		lab.TB().Fatalf("gateway: make the members' certificates: %v", err)
	}
	return t
}

func (t trust) issue(n int, now time.Time) error {
	authority, err := cert.NewAuthority(siteGroup, now, 2*lifetime)
	if err != nil {
		return err
	}
	ca, _, err := authority.PEM()
	if err != nil {
		return err
	}
	if err = errors.Join(os.Mkdir(t.dir, 0o700), os.WriteFile(t.path("ca.pem"), ca, 0o600)); err != nil {
		return err
	}
	for id := 1; id <= n; id++ {
		c, key, err := authority.Issue(cert.Member{ID: ipsec.MemberID(id), Valid: lifetime}, now)
		if err == nil {
			err = cert.Save(t.path(fmt.Sprintf("%d.pem", id)), c, t.path(fmt.Sprintf("%d.key", id)), key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lifetime is longer than any lab lives.
const lifetime = 7 * 24 * time.Hour

func (t trust) path(name string) string { return filepath.Join(t.dir, name) }

// config are the lines of a member's section that say whom it trusts, and who it is.
func (t trust) config(id int) string {
	return fmt.Sprintf("  ca: %[1]s/ca.pem\n  cert: %[1]s/%[2]d.pem\n  key: %[1]s/%[2]d.key\n", t.dir, id)
}
