package store

import "time"

// Status is how a server stands: what it writes to the live key server/<server>, and tells over
// HTTP as /status.
type Status struct {
	Version string    `json:"version"`
	Site    string    `json:"site,omitzero"`
	Started time.Time `json:"started"`

	Ready    bool      `json:"ready"`
	Revision int64     `json:"revision"`         // of the registry that is answered; 0: none has been read
	Changed  int64     `json:"changed,omitzero"` // revision of the newest change it knows of
	Image    bool      `json:"image,omitzero"`   // it was read from the disk image, and etcd has not been heard since
	Lost     time.Time `json:"lost,omitzero"`    // since when etcd has been out of reach; zero while it answers
	Contact  time.Time `json:"contact,omitzero"` // when etcd was last heard of; not in the live key, which says so by being there
	Refused  string    `json:"refused,omitzero"` // why what etcd holds is not obeyed; "" while it is
	Zones    int       `json:"zones"`
	Names    int       `json:"names"` // empty non-terminals included
	Pools    int       `json:"pools"`

	Rejected     int   `json:"rejected,omitzero"`     // keys not served as they stand
	Pending      int   `json:"pending,omitzero"`      // keys that wait for what they refer to
	Unregistered int   `json:"unregistered,omitzero"` // members whose lease has ended and that serve on
	Held         *Held `json:"held,omitzero"`         // deletes held back; nil: none
	Drift        int64 `json:"drift,omitzero"`        // keys that a full compare found other than they should have been, since the start

	Overrides *Overrides `json:"overrides,omitzero"` // in force; nil: none

	VoteStats
	Differ   map[string]int `json:"differ,omitempty"`   // by checker, targets of which it says otherwise than the count
	Warned   int            `json:"warned,omitzero"`    // targets of which a check warns
	Warnings []Warning      `json:"warnings,omitempty"` // the first of these
	Ignored  int            `json:"ignored,omitzero"`   // live keys whose value is wrong
	Unplaced int            `json:"unplaced,omitzero"`  // checkers whose site is not known, or not where it is

	Alarms     []string  `json:"alarms,omitzero"`      // of the embedded etcd, such as "NOSPACE"
	ImageSaved time.Time `json:"image_saved,omitzero"` // when the disk image was last written or read
	ImageError string    `json:"image_error,omitzero"` // why it could not be written; "" if it could

	Geo []GeoFile `json:"geo,omitempty"` // files that say where clients are, the one that counts first first
}

// GeoFile is how a file stands that says where clients are. What does not come from Error is of what was read and
// counts, and zero where nothing was.
type GeoFile struct {
	Path     string    `json:"path"`
	Type     string    `json:"type,omitzero"` // in its own words
	Built    time.Time `json:"built,omitzero"`
	Loaded   time.Time `json:"loaded,omitzero"`
	Networks int       `json:"networks,omitzero"`
	Knows    []string  `json:"knows,omitempty"`   // of asn, country, continent, subdivision, location
	Error    string    `json:"error,omitzero"`    // why what it holds now does not count; "" if it does
	Failed   time.Time `json:"failed,omitzero"`   // since when
	Failures uint64    `json:"failures,omitzero"` // times that it could not be read or used, since the start
}

// Held is what is held back by the guard against deletes by accident.
type Held struct {
	Names   int       `json:"names"`   // keys of names, those of zones without their soa included
	Members int       `json:"members"` // of pools
	Others  int       `json:"others,omitzero"`
	Accept  int64     `json:"accept"` // what control/accept-delete must hold, at least, to let all of them through
	Since   time.Time `json:"since"`
}
