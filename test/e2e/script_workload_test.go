package e2e

import (
	"fmt"
	"os"
	"time"

	"github.com/miekg/dns"
)

// askVar makes the test binary a workload that asks the cell's resolver. Its
// arguments are queries; its value is how many names are asked below each.
const askVar = "E2E_ASK"

// init runs before TestMain, which is for the deeds of workloadVar.
func init() {
	if os.Getenv(askVar) != "" {
		os.Exit(askResolver(os.Args[1:]))
	}
}

// askResolver asks for NAME TYPE TRANSPORT, again and again, and prints what
// it got. With askVar=flood it asks for different names until it is killed.
func askResolver(args []string) int {
	for ; len(args) >= 3; args = args[3:] {
		name, kind, transport := args[0], args[1], args[2]
		if os.Getenv(askVar) == "flood" {
			flood(name, transport)
		}
		reply, err := ask(name, kind, transport)
		if err != nil {
			fmt.Println(name, kind, transport, err)
			continue
		}
		fmt.Println(name, kind, transport, dns.RcodeToString[reply.Rcode], len(reply.Answer))
	}
	return 0
}

func ask(name, kind, transport string) (*dns.Msg, error) {
	client := dns.Client{Net: transport, Timeout: 5 * time.Second}
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.StringToType[kind])
	reply, _, err := client.Exchange(query, "127.0.0.1:53")
	return reply, err
}

// flood asks for a new name each time. Long names make large events.
func flood(domain, transport string) {
	const label = "a-label-that-is-as-long-as-a-label-can-be-and-takes-up-much-room"
	for n := 0; ; n++ {
		_, err := ask(fmt.Sprintf("n%d.%s.%s.%s", n, label[:60], label[:60], domain), "A", transport)
		if n == 0 {
			fmt.Println("first:", err)
		}
	}
}
