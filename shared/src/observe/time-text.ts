// Pure. Wall time as ISO 8601 text, remembered: most lines of a busy proxy carry the same millisecond as the last one.

/** Turns milliseconds since the epoch into `2026-01-01T00:00:00.000Z`. One per writer of lines. */
export class TimeText {
  #ms = Number.NaN;
  #text = "";

  of(ms: number): string {
    const whole = Math.trunc(ms);
    if (whole !== this.#ms) {
      this.#ms = whole;
      this.#text = new Date(whole).toISOString();
    }
    return this.#text;
  }
}
