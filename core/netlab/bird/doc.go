// Package bird drives BIRD 2 as a real router inside a namespace of netlab.
//
//	router := bird.Start(ns, `
//	router id 192.0.2.254;
//	protocol device { }
//	protocol kernel { ipv4 { export all; }; merge paths on; }
//	protocol bgp member1 {
//		local 10.1.0.254 as 65000;
//		neighbor 10.1.0.1 as 65001;
//		ipv4 { import all; export none; };
//	}`)
//	router.Show("route for 203.0.113.1 all")
//
// The routes that BIRD exports to the kernel are those of the namespace.
package bird
