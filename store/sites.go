package store

import "meridian/policy/geo"

// Sites are the places of the sites, as they are served, of which the place is known.
func (r *Registry) Sites() map[string]geo.Point {
	places := map[string]geo.Point{}
	for name, site := range r.sites {
		if at := site.value.Point(); at.IsValid() {
			places[name] = at
		}
	}
	return places
}
