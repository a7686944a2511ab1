package geo

import "math"

// EarthRadius is the mean radius of the earth in km.
const EarthRadius = 6371

// Point is a place on earth as a unit vector from its centre: X towards 0°N 0°E, Y towards 0°N 90°E, Z towards
// the north pole. The greater the dot product of two, the nearer they are. The zero Point is no place.
type Point struct{ X, Y, Z float64 }

// PointAt returns the place at a latitude and a longitude in degrees, north and east positive.
func PointAt(lat, lon float64) Point {
	sinLat, cosLat := math.Sincos(lat * math.Pi / 180)
	sinLon, cosLon := math.Sincos(lon * math.Pi / 180)
	return Point{cosLat * cosLon, cosLat * sinLon, sinLat}
}

// IsValid says whether p is a place.
func (p Point) IsValid() bool { return p != Point{} }

// LatLon returns where p is, in degrees: latitude −90 to 90, longitude −180 to 180.
func (p Point) LatLon() (lat, lon float64) {
	return math.Atan2(p.Z, math.Hypot(p.X, p.Y)) * 180 / math.Pi, math.Atan2(p.Y, p.X) * 180 / math.Pi
}

// Km is the distance from p to q along the great circle, in km.
func (p Point) Km(q Point) float64 { return KmOf(p.Chord2(q)) }

// Chord2 is the square of the straight distance from p to q through the earth, in radii: 0 to 4. It grows
// with Km, and takes a tenth of the time.
func (p Point) Chord2(q Point) float64 {
	x, y, z := p.X-q.X, p.Y-q.Y, p.Z-q.Z
	return x*x + y*y + z*z
}

// KmOf is the distance of points whose Chord2 that is. (By the chord: the dot product of places close together
// is too near to 1.)
func KmOf(chord2 float64) float64 {
	return 2 * EarthRadius * math.Asin(min(1, math.Sqrt(chord2)/2))
}

// Chord2Of is the Chord2 of points that far apart.
func Chord2Of(km float64) float64 {
	chord := 2 * math.Sin(min(km/(2*EarthRadius), math.Pi/2))
	return chord * chord
}
