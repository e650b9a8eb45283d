import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { damerauDistance, nearest } from '../../agent/base/nearest.ts';

describe('nearest', () => {
  it('finds what was meant', () => {
    expect(nearest('lissen', ['listen', 'limits', 'name'])).toBe('listen');
    expect(nearest('waitingdays', ['waitingDays', 'maxAge'])).toBe('waitingDays');
    expect(nearest('hodl', ['hold', 'health'])).toBe('hold');
  });

  it('proposes nothing when nothing is near', () => {
    expect(nearest('x', ['listen', 'name'])).toBeUndefined();
    expect(nearest('dicom', [])).toBeUndefined();
  });
});

describe('the distance', () => {
  const word = fc.string({ maxLength: 12 });

  it('is zero for the same word only, and the same both ways', () => {
    fc.assert(
      fc.property(word, word, (a, b) => {
        expect(damerauDistance(a, b)).toBe(damerauDistance(b, a));
        expect(damerauDistance(a, b) === 0).toBe(a === b);
      }),
    );
  });

  it('counts one letter left out, and one pair swapped, as one', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.constantFrom<string>('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'), { minLength: 2, maxLength: 8 }),
        fc.nat(),
        (letters, at) => {
          const index = at % (letters.length - 1);
          const without = letters.toSpliced(index, 1);
          const swapped = letters.toSpliced(index, 2, letters[index + 1] as string, letters[index] as string);
          expect(damerauDistance(letters.join(''), without.join(''))).toBe(1);
          expect(damerauDistance(letters.join(''), swapped.join(''))).toBe(1);
        },
      ),
    );
  });
});
