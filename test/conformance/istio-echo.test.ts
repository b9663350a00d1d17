// Every conformance case with Istio's echo server, which the upstream suite uses.
import { describeSuite } from "./suite.ts";

describeSuite("istio");
