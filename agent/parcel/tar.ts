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

export function tarHeader(name: string, bytes: number): Buffer {
  assert(name.length <= 100 && bytes <= sizeMax, 'an entry that ustar cannot name');
  const header = Buffer.alloc(tarBlockBytes);
  header.write(name, 0, 'ascii');
  header.write('0000600\0', 100, 'ascii');
  header.write('0000000\0', 108, 'ascii');
  header.write('0000000\0', 116, 'ascii');
  header.write(`${octal(bytes, 11)}\0`, 124, 'ascii');
  header.write(`${octal(0, 11)}\0`, 136, 'ascii');
  header.write('        0', 148, 'ascii');
  header.write('ustar\x0000', 257, 'latin1');
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${octal(sum, 6)}\0 `, 148, 'ascii');
  return header;
}

/** Zeros up to the next block. */
export function tarPadding(bytes: number): Buffer {
  return Buffer.alloc((tarBlockBytes - (bytes % tarBlockBytes)) % tarBlockBytes);
}

/** Two empty blocks end the archive. */
export function tarEnd(): Buffer {
  return Buffer.alloc(2 * tarBlockBytes);
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}
