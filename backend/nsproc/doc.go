// Package nsproc runs PID 1 of a cell that is made of Linux namespaces: it
// clones it, speaks with it, has it make sockets, and sees to its death. What
// the namespaces are and what is set up in them is the backend's decision.
//
// PID 1 is package cellinit: a program that imports this package can be
// executed as one. See its documentation for the protocol.
package nsproc
