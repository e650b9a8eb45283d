/**
 * The tar headers of a parcel: plain ustar (POSIX.1-1988), regular files with short names, smaller than 8 GiB, which
 * is all there is, so no extension is needed. Reading is left to `tar-stream`; its writer costs a stream object and
 * several turns of the event loop an entry, which 50,000 entries feel.
 *
 * ```
 * offset  length  field
 *      0     100  name
 *    100       8  mode, octal            0600
 *    108    8, 8  uid, gid, octal        0
 *    124      12  size, octal
 *    136      12  mtime, octal, seconds  0
 *    148       8  sum of all 512 bytes, these eight taken as spaces
 *    156       1  type                   '0', regular file
 *    257    6, 2  "ustar" NUL, "00"
 * ```
 */
import assert from 'node:assert';

const tarBlockBytes = 512;

/** Eleven octal digits. */
const sizeMax = 8 ** 11 - 1;

/** All that is the same in every header, and its sum with the eight bytes of the sum taken as spaces. */
const blank = Buffer.alloc(tarBlockBytes);
blank.write('0000600\0', 100, 'latin1');
blank.write('0000000\0', 108, 'latin1');
blank.write('0000000\0', 116, 'latin1');
blank.write(`${octal(0, 11)}\0`, 136, 'latin1');
blank.write('        0', 148, 'latin1');
blank.write('ustar\x0000', 257, 'latin1');
const blankSum = sumOf(blank);

const zeros = Buffer.alloc(2 * tarBlockBytes);

export function tarHeader(name: string, bytes: number): Buffer {
  assert(name.length <= 100 && bytes <= sizeMax, 'an entry that ustar cannot name');
  const header = Buffer.from(blank);
  const size = octal(bytes, 11);
  header.write(name, 0, 'latin1');
  header.write(size, 124, 'latin1');
  const sum = blankSum + sumOf(header.subarray(0, name.length)) + sumOf(header.subarray(124, 135));
  header.write(`${octal(sum, 6)}\0 `, 148, 'latin1');
  return header;
}

/** Zeros up to the next block. Not to be written into, as the other one. */
export function tarPadding(bytes: number): Uint8Array {
  return zeros.subarray(0, (tarBlockBytes - (bytes % tarBlockBytes)) % tarBlockBytes);
}

/** Two empty blocks end the archive. */
export function tarEnd(): Uint8Array {
  return zeros;
}

function sumOf(bytes: Uint8Array): number {
  let sum = 0;
  for (const byte of bytes) sum += byte;
  return sum;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}
