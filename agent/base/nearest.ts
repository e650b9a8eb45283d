/**
 * The word that was probably meant: an unknown key of the configuration, an unknown command. Distance as Damerau
 * counts it (optimal string alignment): insertions, deletions, replacements and swapped neighbours.
 */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  // One slip in three letters; further off, a proposal misleads more than it helps.
  const distanceMax = Math.max(1, Math.floor(word.length / 3));
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: damerauDistance(word.toLowerCase(), candidate.toLowerCase()) }))
    .filter(({ distance }) => distance <= distanceMax)
    .toSorted((a, b) => a.distance - b.distance);
  return ranked[0]?.candidate;
}

/** Longest word compared; the work grows with the square. */
const wordCharsMax = 64;

export function damerauDistance(left: string, right: string): number {
  const a = left.slice(0, wordCharsMax);
  const b = right.slice(0, wordCharsMax);
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const isSame = a[row - 1] === b[column - 1];
      const isSwap = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      current[column] = Math.min(
        (last[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + (isSame ? 0 : 1),
        isSwap ? (beforeLast[column - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    beforeLast = last;
    last = current;
  }
  return last[b.length] ?? 0;
}
