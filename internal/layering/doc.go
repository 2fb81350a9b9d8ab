// Package layering has no code, only tests: which packages may import what, and
// what every folder of the module has in common.
package layering
