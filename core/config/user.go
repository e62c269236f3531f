package config

import (
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// User is somebody whom XAUTH lets in.
type User struct {
	Name     string    `json:"name"`
	Password ipsec.Key `json:"-"`

	file section
}

// UserGroup is a set of users.
type UserGroup struct {
	Name    string   `json:"name"`
	Members []string `json:"member"`

	file section
}

func userFields(dir string) []field[User] {
	return []field[User]{
		{"name", func(u *User, v value) { v.text(&u.Name) }},
		{"passwd", func(u *User, v value) { v.secret(&u.Password, dir, userPassword()) }},
	}
}

func userGroupFields() []field[UserGroup] {
	return []field[UserGroup]{
		{"name", func(g *UserGroup, v value) { v.name(&g.Name) }},
		{"member", func(g *UserGroup, v value) {
			listOf(v, &g.Members, true, func(s string) (string, error) { return s, nil })
		}},
	}
}

// userPassword is the kind of passwords. They travel inside of phase 1, so only the
// gateway can be asked whether one is right.
func userPassword() secretKind {
	return secretKind{noun: "the password", least: 1, most: 255}
}

// users looks for what is missing, and for names that are taken.
func (k checker) users() {
	first := make(map[string]section)
	for _, u := range k.c.Users {
		k.lacks(u.file, "name", u.Name == "", "every user has a name")
		k.lacks(u.file, "passwd", u.Password.Len() == 0, "every user has a password")
		k.taken(first, u.Name, u.file)
	}
	groups := make(map[string]section)
	for _, g := range k.c.Groups {
		k.lacks(g.file, "name", g.Name == "", "every group has a name")
		k.lacks(g.file, "member", len(g.Members) == 0, "a group without members lets nobody in")
		k.taken(groups, g.Name, g.file)
		for _, m := range g.Members {
			if _, known := first[m]; !known {
				known := make([]string, 0, len(k.c.Users))
				for _, u := range k.c.Users {
					known = append(known, u.Name)
				}
				k.at(g.file, "member", "there is no user %s in user-local%s", m, suggest(m, known, "there are"))
			}
		}
	}
}

// group finds a group by its name, nil when there is none.
func (c *Config) group(name string) *UserGroup {
	for _, g := range c.Groups {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// members are the users of a group, in its order.
func (c *Config) members(group string) []ike.User {
	g := c.group(group)
	if g == nil {
		return nil
	}
	var out []ike.User
	for _, name := range g.Members {
		for _, u := range c.Users {
			if u.Name == name {
				out = append(out, ike.User{Name: u.Name, Password: u.Password})
			}
		}
	}
	return out
}
