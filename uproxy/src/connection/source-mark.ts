// Pure. The mark of packets that go to the app from its caller's address: rules and sockets must have the same.

/** Istio's mark of packets that come from the proxy, so that rules carry over. */
export const SOURCE_MARK = 0x539;
