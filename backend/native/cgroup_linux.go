package native

// Cgroups are where the limits of cells can be set.
type Cgroups struct{}
