import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { PartSize } from '../../agent/ship/part-size.ts';

const MiB = 1024 * 1024;
const times = (count: number, act: () => unknown) => {
  for (let done = 0; done < count; done += 1) act();
};

it('halves after three cuts and doubles after ten clean parts', () => {
  const size = new PartSize();
  expect(size.bytes).toBe(64 * MiB);
  times(2, () => size.cut());
  expect(size.bytes).toBe(64 * MiB);
  size.cut();
  expect(size.bytes).toBe(32 * MiB);
  times(9, () => size.clean());
  expect(size.bytes).toBe(32 * MiB);
  size.clean();
  expect(size.bytes).toBe(64 * MiB);
});

it('does not count cuts across a clean part', () => {
  const size = new PartSize();
  times(20, () => {
    size.cut();
    size.cut();
    size.clean();
  });
  expect(size.bytes).toBe(64 * MiB);
});

it('never goes back to a size that was refused as too large', () => {
  const size = new PartSize();
  expect(size.tooLarge(64 * MiB)).toBe(true);
  times(1000, () => size.clean());
  expect(size.bytes).toBe(32 * MiB);
});

it('stays between 4 and 64 MiB whatever the line does, and only a limit on bodies goes lower', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('cut', 'clean')), (acts) => {
      const size = new PartSize();
      for (const act of acts) size[act]();
      expect(size.bytes >= 4 * MiB && size.bytes <= 64 * MiB).toBe(true);
    }),
  );
  const limited = new PartSize();
  while (limited.tooLarge(limited.bytes));
  expect(limited.bytes).toBe(256 * 1024);
  times(9, () => limited.cut());
  expect(limited.bytes).toBe(256 * 1024);
});
