// Pure. Which of two resources that claim the same thing has it.

/** The older one, then the first by `namespace/name`, in code units: the same on every machine. For `sort`. */
export function byAge(
  a: { readonly createdAt: number; readonly uid: string },
  b: { readonly createdAt: number; readonly uid: string },
): number {
  if (a.createdAt !== b.createdAt) return a.createdAt - b.createdAt;
  if (a.uid === b.uid) return 0;
  return a.uid < b.uid ? -1 : 1;
}
