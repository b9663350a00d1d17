// Every conformance case with our own echo app, which tells bytes.
import { describeSuite } from "./suite.ts";

describeSuite("own");
