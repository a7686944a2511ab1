package main

import (
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"meridian/health"
	"meridian/health/check"
	"meridian/policy"
	"meridian/server"
	"meridian/store"
	"meridian/store/etcd"
)

// metrics reads the counters of all parts when it is asked; the parts know nothing of Prometheus.
type metrics struct {
	cfg      Config
	dns      *server.Server
	applier  *store.Applier
	checker  *check.Runner
	seen     *sentinels
	registry *etcd.Registry
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("meridian_"+name, help, labels, nil)
}

var (
	descInfo      = describe("info", "Always 1; the labels say which server this is.", "version", "name", "site")
	descReplies   = describe("dns_replies_total", "Replies to DNS messages, by how they ended.", "transport", "result", "rcode")
	descDropped   = describe("dns_dropped_total", "Messages without a reply: too short, or replies themselves.", "transport")
	descTruncated = describe("dns_truncated_total", "Replies that said TC.", "transport")
	descPanics    = describe("dns_panics_total", "Messages dropped by a fault of the server: please report it.", "transport")
	descEDNS      = describe("dns_edns_queries_total", "Messages with an OPT record.", "transport")
	descSubnet    = describe("dns_subnet_queries_total", "Messages with a client subnet.", "transport")
	descSocket    = describe("dns_socket_errors_total", "Failed receives and sends.", "transport", "call")
	descAccepted  = describe("dns_tcp_accepted_total", "TCP connections accepted.")
	descEvicted   = describe("dns_tcp_evicted_total", "TCP connections closed to make room for new ones, by the limit that they were beyond: of all, or of one client.", "limit")
	descOpen      = describe("dns_tcp_open", "TCP connections open.")

	descRevision = describe("registry_revision", "Revision of the registry that is served.")
	descUpdates  = describe("registry_updates_total", "Changes of the registry taken in.")
	descChanged  = describe("registry_changed_timestamp_seconds", "When the registry last changed here.")
	descContact  = describe("registry_contact_timestamp_seconds", "When etcd last answered.")
	descReach    = describe("registry_reachable", "1 while etcd answers.")
	descReads    = describe("registry_reads_total", "Reads of the whole registry, by reason: start, periodic, asked; or what was wrong with following it.", "reason")
	descKeys     = describe("registry_faulty_keys", "Keys not served as they stand: rejected, or pending on what they refer to.", "state")
	descZones    = describe("zones", "Zones served.")
	descNames    = describe("names", "Names that exist, empty non-terminals included.")
	descMembers  = describe("pool_members", "Members of a pool by state: up with any address up, down with all down.", "pool", "state")

	descLatch    = describe("pool_latch", "Tier at which failback of the pool is held; 0: it is not. Of pools whose failback is manual or takes a time.", "pool")
	descLive     = describe("live_rejected_total", "Values of live keys (checker, report, rtt, utilization, load) that were wrong, and ignored.")
	descWrong    = describe("live_wrong_keys", "Live keys whose value is wrong now.")
	descUnplaced = describe("live_unplaced_checkers", "Checkers at a site of which nobody knows where it is: their round-trip times do not count.")

	descHeld         = describe("registry_held_deletes", "Deletes held back as an accident: names and members they would take away, and other keys.", "kind")
	descRefused      = describe("registry_refused", "1 while what etcd holds is not obeyed.")
	descDrift        = describe("registry_drift_total", "Keys that a full compare found other than they should have been.")
	descUnregistered = describe("pool_members_unregistered", "Members whose lease has ended and that serve on.")
	descFromImage    = describe("registry_from_image", "1 while the registry is that of the disk image, and etcd has not been heard since the start.")
	descImageSaved   = describe("image_saved_timestamp_seconds", "When the disk image was last written, or read.")
	descImageFailed  = describe("image_failed", "1 while the disk image cannot be written.")
	descImageSize    = describe("image_size_bytes", "Size of the disk image last written; 0: none since the start.")
	descImageWrites  = describe("image_writes_total", "Writes of the disk image.", "result")
	descAlarm        = describe("etcd_alarm", "1 while the embedded etcd has this alarm.", "alarm")

	descGeoBuilt    = describe("geo_build_timestamp_seconds", "When the geo database in use was built, by its own word.", "path", "type")
	descGeoNetworks = describe("geo_networks", "Networks of the geo database in use.", "path", "type")
	descGeoFailed   = describe("geo_failed", "1 while what the file holds cannot be used.", "path")
	descGeoFailures = describe("geo_failures_total", "Times that a geo database could not be read, or held what cannot be used.", "path")

	descOverrides = describe("overrides", "People's words on members, pools and sites that are in force.", "state")

	descCheckers = describe("health_checkers", "Other checkers that are live: those whose reports count.")
	descDisputed = describe("health_disputed", "Targets of which a site says otherwise than the count.")
	descDoubted  = describe("health_doubted", "Targets that turned down with a mass of others, and are not believed to be before a second round.")
	descStale    = describe("health_stale", "Targets that no checker reports: the last state stays.")

	descWarned = describe("health_warned", "Targets of which a check warns, such as of a certificate that expires soon.")

	descLooks   = describe("check_looks_total", "Looks of the checker at its targets.", "result")
	descTargets = describe("check_targets", "Targets of the checker by state.", "state")
	descFlight  = describe("check_looks_in_flight", "Looks under way.")
)

// Describe sends nothing: the members of pools come and go.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// emitters send a metric each.
func emitters(out chan<- prometheus.Metric) (emitCount, emitGauge) {
	return func(d *prometheus.Desc, v uint64, labels ...string) {
			out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
		}, func(d *prometheus.Desc, v float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
		}
}

// Collect reads all counters.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	counter, gauge := emitters(out)
	gauge(descInfo, 1, version, m.cfg.ServerName, m.cfg.Site)
	m.collectDNS(counter, gauge)
	m.collectRegistry(counter, gauge)
	collectChecks(m.checker, m.seen, counter, gauge)
}

type emitCount func(d *prometheus.Desc, v uint64, labels ...string)
type emitGauge func(d *prometheus.Desc, v float64, labels ...string)

func (m *metrics) collectDNS(counter emitCount, gauge emitGauge) {
	s := m.dns.Stats()
	for _, t := range []struct {
		name string
		server.Traffic
	}{{"udp", s.UDP}, {"tcp", s.TCP}} {
		for r, n := range t.Results {
			r := server.Result(r)
			counter(descReplies, n, t.name, r.String(), dns.RcodeToString[int(r.Rcode())])
		}
		counter(descDropped, t.Dropped, t.name)
		counter(descTruncated, t.Truncated, t.name)
		counter(descPanics, t.Panics, t.name)
		counter(descEDNS, t.EDNS, t.name)
		counter(descSubnet, t.Subnet, t.name)
		counter(descSocket, t.ReceiveErrors, t.name, "receive")
		counter(descSocket, t.SendErrors, t.name, "send")
	}
	counter(descAccepted, s.Accepted)
	counter(descEvicted, s.Evicted, "all")
	counter(descEvicted, s.EvictedOfClient, "client")
	gauge(descOpen, float64(s.Open))
}

func (m *metrics) collectRegistry(counter emitCount, gauge emitGauge) {
	contact := m.registry.Contact()
	gauge(descReach, bit(contact.InReach))
	if !contact.Last.IsZero() {
		gauge(descContact, seconds(contact.Last))
	}
	for reason, n := range m.registry.Stats().Reads {
		counter(descReads, uint64(n), reason)
	}
	st := m.applier.Stats()
	counter(descUpdates, uint64(st.Updates))
	gauge(descKeys, float64(st.Rejected), "rejected")
	gauge(descKeys, float64(st.Pending), "pending")
	counter(descLive, uint64(st.Live.Rejected))
	gauge(descWrong, float64(st.Live.Wrong))
	gauge(descUnplaced, float64(st.Live.Unplaced))
	if !st.Changed.IsZero() {
		gauge(descChanged, seconds(st.Changed))
	}
	s := m.applier.Snapshot.Load()
	if s == nil {
		return
	}
	gauge(descRevision, float64(s.Revision))
	gauge(descZones, float64(s.Zones()))
	gauge(descNames, float64(s.Names))
	for _, p := range s.Pools {
		if p == nil {
			continue
		}
		var members [3]int // by health.State
		for i := range p.Members {
			members[memberState(p, i)]++
		}
		if p.Latches() {
			gauge(descLatch, float64(p.Latch()), p.Name)
		}
		for state, n := range members {
			gauge(descMembers, float64(n), p.Name, health.State(state).String())
		}
	}
}

// statusMetrics is how the server stands, as metrics.
type statusMetrics struct {
	status func() store.Status
	saver  *store.Saver
}

// Describe sends nothing: alarms come and go.
func (m *statusMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect asks once how the server stands.
func (m *statusMetrics) Collect(out chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := m.status()
	var held store.Held
	if s.Held != nil {
		held = *s.Held
	}
	gauge(descHeld, float64(held.Names), "names")
	gauge(descHeld, float64(held.Members), "members")
	gauge(descHeld, float64(held.Others), "others")
	gauge(descRefused, bit(s.Refused != ""))
	counter(descDrift, s.Drift)
	gauge(descUnregistered, float64(s.Unregistered))
	gauge(descCheckers, float64(s.Checkers))
	if s.Overrides != nil {
		for state, n := range s.Overrides.States {
			gauge(descOverrides, float64(n), state)
		}
	}
	gauge(descDisputed, float64(s.Disputed))
	gauge(descDoubted, float64(s.Doubted))
	gauge(descStale, float64(s.Stale))
	gauge(descWarned, float64(s.Warned))
	gauge(descFromImage, bit(s.Image))
	if !s.ImageSaved.IsZero() {
		gauge(descImageSaved, seconds(s.ImageSaved))
	}
	gauge(descImageFailed, bit(s.ImageError != ""))
	saved := m.saver.Stats()
	gauge(descImageSize, float64(saved.Size))
	counter(descImageWrites, saved.Writes, "success")
	counter(descImageWrites, saved.Errors, "failure")
	for _, alarm := range s.Alarms {
		gauge(descAlarm, 1, alarm)
	}
	for _, f := range s.Geo {
		if !f.Loaded.IsZero() {
			gauge(descGeoBuilt, seconds(f.Built), f.Path, f.Type)
			gauge(descGeoNetworks, float64(f.Networks), f.Path, f.Type)
		}
		gauge(descGeoFailed, bit(f.Error != ""), f.Path)
		counter(descGeoFailures, int64(f.Failures), f.Path)
	}
}

func collectChecks(runner *check.Runner, seen *sentinels, counter emitCount, gauge emitGauge) {
	s := runner.Stats()
	counter(descLooks, s.Successes, "success")
	counter(descLooks, s.Failures, "failure")
	counter(descLooks, s.Timeouts, "timeout")
	counter(descLooks, s.Void, "void")
	gauge(descFlight, float64(s.InFlight))
	for state, n := range s.Targets {
		gauge(descTargets, float64(n), health.State(state).String())
	}
	for f, abstains := range seen.Abstains() {
		gauge(descAbstains, bit(abstains), familyNames[f])
	}
}

// memberState is up with any address up, unknown while any may be, and else down.
func memberState(p *policy.Pool, i int) health.State {
	w := p.Health(i)
	all := uint16(1)<<len(p.Members[i].Addrs) - 1
	switch {
	case w.Up()&all != 0:
		return health.Up
	case w.Unknown()&all != 0:
		return health.Unknown
	}
	return health.Down
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
