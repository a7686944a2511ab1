package store

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/miekg/dns"

	"meridian/spec"
	"meridian/zones"
)

// kind of object that a key holds, in the order in which the objects of one revision are taken:
// what is referred to comes first.
type kind uint8

const (
	kindSite kind = iota
	kindCheck
	kindMap
	kindMember
	kindPolicy
	kindOverride
	kindLatch
	kindSOA
	kindName
	kindControl
)

// key is a parsed key.
type key struct {
	kind  kind
	text  string      // the key itself
	name  string      // of the site, check, map or pool; "" for an override of a site
	child string      // the member, or the map's part, or the site that an override is of
	owner zones.Owner // of kindSOA and kindName; the zone's apex for kindSOA
}

// forms are the keys there are.
var forms = []string{
	"zone/<zone>/soa",
	"zone/<zone>/name/<owner>/steer",
	"zone/<zone>/name/<owner>/<TYPE>",
	"site/<site>",
	"pool/<pool>/policy",
	"pool/<pool>/member/<member>",
	"check/<check>",
	"map/<map>/<part>",
	"override/member/<pool>/<member>",
	"override/pool/<pool>",
	"override/site/<site>",
	"latch/<pool>",
	acceptKey,
}

var firstWords = []string{"zone", "site", "pool", "check", "map", "override", "latch", "control"}

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

// CheckName says whether text can name a site, a check, a map or a part of one, a pool or a member.
func CheckName(text string) error {
	if !nameForm.MatchString(text) {
		return fmt.Errorf("%q is not a name: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends", text)
	}
	return nil
}

// parseKey reads a key below the prefix. The type of a name's key is left to parseType: where only
// that is wrong, the name exists all the same.
func parseKey(text string) (key, *spec.Error) {
	if ownerPrefix(text) == "" {
		return parseAnyKey(text)
	}
	return parseNameKey(text, new(zones.Name))
}

// parseNameKey is parseKey for keys of names, which are many: its owner may be in name, and is good
// until that is used again.
func parseNameKey(text string, name *zones.Name) (key, *spec.Error) {
	zone, owner, _ := cutNameKey(text)
	if apex, ok := name.ReadPlain(zone, owner); ok {
		return key{kind: kindName, text: text, owner: zones.Owner{Name: name, Zone: apex}}, nil
	}
	return parseAnyKey(text)
}

func parseAnyKey(text string) (key, *spec.Error) {
	parts := strings.Split(text, "/")
	k := key{text: text}
	var err error
	switch {
	case parts[0] == "zone" && len(parts) == 3 && parts[2] == "soa":
		k.kind = kindSOA
		k.owner, err = parseOwner(text, parts[1], "@", "soa")
	case parts[0] == "zone" && len(parts) == 5 && parts[2] == "name":
		k.kind = kindName
		k.owner, err = parseOwner(text, parts[1], parts[3], parts[4])
	case parts[0] == "site" && len(parts) == 2:
		k.kind, k.name = kindSite, parts[1]
		err = CheckName(k.name)
	case parts[0] == "check" && len(parts) == 2:
		k.kind, k.name = kindCheck, parts[1]
		err = CheckName(k.name)
	case parts[0] == "map" && len(parts) == 3:
		k.kind, k.name, k.child = kindMap, parts[1], parts[2]
		if err = CheckName(k.name); err == nil {
			err = CheckName(k.child)
		}
	case parts[0] == "pool" && len(parts) == 3 && parts[2] == "policy":
		k.kind, k.name = kindPolicy, parts[1]
		err = CheckName(k.name)
	case parts[0] == "pool" && len(parts) == 4 && parts[2] == "member":
		k.kind, k.name, k.child = kindMember, parts[1], parts[3]
		if err = CheckName(k.name); err == nil {
			err = CheckName(k.child)
		}
	case parts[0] == "override" && len(parts) == 4 && parts[1] == "member":
		k.kind, k.name, k.child = kindOverride, parts[2], parts[3]
		if err = CheckName(k.name); err == nil {
			err = CheckName(k.child)
		}
	case parts[0] == "override" && len(parts) == 3 && parts[1] == "pool":
		k.kind, k.name = kindOverride, parts[2]
		err = CheckName(k.name)
	case parts[0] == "override" && len(parts) == 3 && parts[1] == "site":
		k.kind, k.child = kindOverride, parts[2]
		err = CheckName(k.child)
	case parts[0] == "latch" && len(parts) == 2:
		k.kind, k.name = kindLatch, parts[1]
		err = CheckName(k.name)
	case text == acceptKey:
		k.kind = kindControl
	case parts[0] == "":
		return key{}, spec.Errorf("", "keys are written without the prefix and without a leading slash, such as pool/web/policy")
	default:
		var like []string
		for _, f := range forms {
			if strings.HasPrefix(f, parts[0]+"/") {
				like = append(like, f)
			}
		}
		if hint := spec.Suggest(parts[0], firstWords); like == nil && hint != "" {
			return key{}, spec.Errorf("", "no such kind of key%s", hint)
		} else if like == nil {
			like = forms
		}
		return key{}, spec.Errorf("", "no such kind of key, expected %s", strings.Join(like, " or "))
	}
	if err != nil {
		return key{}, spec.Errorf("", "%v", err)
	}
	return k, nil
}

// parseType reads what ends the key of a name. Where nobody knows the type, it is TypeUnknown.
func parseType(text string) (uint16, *spec.Error) {
	if text == "steer" {
		return zones.TypeSteer, nil
	}
	typ, err := zones.ParseType(text)
	if err != nil {
		return zones.TypeUnknown, spec.Errorf("", "%v", err)
	}
	return typ, nil
}

// typeWord is what parseType reads, of a type that is known.
func typeWord(typ uint16) string {
	if typ == zones.TypeSteer {
		return "steer"
	}
	return dns.Type(typ).String()
}

// parseOwner reads zone and owner and insists on their canonical spelling: one name, one key.
func parseOwner(text, zone, owner, last string) (zones.Owner, error) {
	if strings.HasSuffix(zone, ".") && zone != "." {
		zone = strings.TrimSuffix(zone, ".")
	}
	if strings.HasSuffix(owner, ".") && !strings.HasSuffix(owner, `\.`) {
		owner = strings.TrimSuffix(owner, ".")
	}
	o, err := zones.ParseOwner(zone, owner)
	if err != nil {
		return o, err
	}
	canonical := "zone/" + o.ZoneText() + "/soa"
	if last != "soa" {
		canonical = "zone/" + o.ZoneText() + "/name/" + o.Text() + "/" + last
	}
	if canonical != text {
		return o, fmt.Errorf("the key is spelled %s", canonical)
	}
	return o, nil
}
