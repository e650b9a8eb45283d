/**
 * JSON (RFC 8259) read as bytes: strictly checked, walked, and never rebuilt. A decoder would hold a page three times
 * in memory and lose `1.50`; here a value is where it begins and where it ends.
 *
 * Each function takes the index of a value's first byte and returns the index after its last one. Reading past the end
 * gives `undefined`, which fits no rule and ends in an error.
 */
import { ConnectorError } from '../../model/errors.ts';

const quote = 0x22;
const backslash = 0x5c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const comma = 0x2c;
const colon = 0x3a;
const minus = 0x2d;
const lowerU = 0x75;
const zero = 0x30;
const nine = 0x39;

/** FHIR's deepest resources (nested questionnaires) stay below half of it; deeper is an attack on the stack. */
export const depthMax = 64;

/** Up to here a plain loop is faster than a call into native code. */
const shortStringBytes = 64;

export function skipSpace(bytes: Buffer, at: number): number {
  let i = at;
  while (isSpace(bytes[i])) i++;
  return i;
}

function isSpace(c: number | undefined): boolean {
  return c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09;
}

/**
 * Any value.
 *
 * @throws ConnectorError FHIR_BAD_JSON
 */
export function skipValue(bytes: Buffer, at: number, depth: number): number {
  const c = bytes[at];
  if (c === quote) return skipString(bytes, at);
  if (c === openBrace) return skipObject(bytes, at, depth);
  if (c === openBracket) return skipArray(bytes, at, depth);
  if (c === minus || isDigit(c)) return skipNumber(bytes, at);
  return skipLiteral(bytes, at);
}

/**
 * The same as `walkObject` with nobody to tell. Most of a page passes through here, so each step looks before it calls:
 * compact JSON has no white space to skip.
 */
function skipObject(bytes: Buffer, at: number, depth: number): number {
  if (depth >= depthMax) throw badJson('it is nested too deep', at);
  let i = at + 1;
  if (isSpace(bytes[i])) i = skipSpace(bytes, i);
  if (bytes[i] === closeBrace) return i + 1;
  for (;;) {
    if (bytes[i] !== quote) throw badJson('a name is missing', i);
    i = skipString(bytes, i);
    if (isSpace(bytes[i])) i = skipSpace(bytes, i);
    if (bytes[i] !== colon) throw badJson('a colon is missing', i);
    i++;
    if (isSpace(bytes[i])) i = skipSpace(bytes, i);
    i = bytes[i] === quote ? skipString(bytes, i) : skipValue(bytes, i, depth + 1);
    if (isSpace(bytes[i])) i = skipSpace(bytes, i);
    if (bytes[i] === closeBrace) return i + 1;
    if (bytes[i] !== comma) throw badJson('an object does not end', i);
    i++;
    if (isSpace(bytes[i])) i = skipSpace(bytes, i);
  }
}

function skipArray(bytes: Buffer, at: number, depth: number): number {
  if (depth >= depthMax) throw badJson('it is nested too deep', at);
  let i = at + 1;
  if (isSpace(bytes[i])) i = skipSpace(bytes, i);
  if (bytes[i] === closeBracket) return i + 1;
  for (;;) {
    i = skipValue(bytes, i, depth + 1);
    if (isSpace(bytes[i])) i = skipSpace(bytes, i);
    if (bytes[i] === closeBracket) return i + 1;
    if (bytes[i] !== comma) throw badJson('an array does not end', i);
    i++;
    if (isSpace(bytes[i])) i = skipSpace(bytes, i);
  }
}

/** Names a walk looks for, as bytes and by their length: making a string of every name costs more than all the rest. */
export type Names = readonly (readonly { readonly name: string; readonly bytes: Buffer }[] | undefined)[];

export function namesOf(...names: readonly string[]): Names {
  const byLength: { name: string; bytes: Buffer }[][] = [];
  for (const name of names) (byLength[name.length] ??= []).push({ name, bytes: Buffer.from(name) });
  return byLength;
}

/**
 * Calls `member` for each member with its name, if it is one of `names`, and where its value begins; it returns where
 * the value ends. Other names are undefined.
 */
export function walkObject(
  bytes: Buffer,
  at: number,
  depth: number,
  names: Names,
  member: (name: string | undefined, valueAt: number) => number,
): number {
  if (bytes[at] !== openBrace) throw badJson('an object is missing', at);
  if (depth >= depthMax) throw badJson('it is nested too deep', at);
  let i = skipSpace(bytes, at + 1);
  if (bytes[i] === closeBrace) return i + 1;
  for (;;) {
    if (bytes[i] !== quote) throw badJson('a name is missing', i);
    const end = skipString(bytes, i);
    const name = matchName(bytes, i, end, names);
    i = skipSpace(bytes, end);
    if (bytes[i] !== colon) throw badJson('a colon is missing', i);
    i = skipSpace(bytes, member(name, skipSpace(bytes, i + 1)));
    if (bytes[i] === closeBrace) return i + 1;
    if (bytes[i] !== comma) throw badJson('an object does not end', i);
    i = skipSpace(bytes, i + 1);
  }
}

/** Calls `element` with where each value begins; it returns where it ends. */
export function walkArray(bytes: Buffer, at: number, depth: number, element: (valueAt: number) => number): number {
  if (bytes[at] !== openBracket) throw badJson('an array is missing', at);
  if (depth >= depthMax) throw badJson('it is nested too deep', at);
  let i = skipSpace(bytes, at + 1);
  if (bytes[i] === closeBracket) return i + 1;
  for (;;) {
    i = skipSpace(bytes, element(i));
    if (bytes[i] === closeBracket) return i + 1;
    if (bytes[i] !== comma) throw badJson('an array does not end', i);
    i = skipSpace(bytes, i + 1);
  }
}

/** The text of the value from `at` to `end`, or undefined when it is not a string. */
export function readString(bytes: Buffer, at: number, end: number): string | undefined {
  if (bytes[at] !== quote) return undefined;
  const isPlain = !hasEscape(bytes, at + 1, end - 1);
  return isPlain ? bytes.toString('utf8', at + 1, end - 1) : (JSON.parse(bytes.toString('utf8', at, end)) as string);
}

export function badJson(reason: string, offset: number): ConnectorError {
  return new ConnectorError('FHIR_BAD_JSON', { reason, offset });
}

function matchName(bytes: Buffer, at: number, end: number, names: Names): string | undefined {
  // A name may be written with escapes (`"\u0069d"`). Nobody does, but a reader that is fooled by it is a hole.
  if (hasEscape(bytes, at + 1, end - 1)) {
    const written = Buffer.from(readString(bytes, at, end) ?? '');
    return nameAt(written, 0, written.length, names);
  }
  return nameAt(bytes, at + 1, end - at - 2, names);
}

function nameAt(bytes: Buffer, at: number, length: number, names: Names): string | undefined {
  const candidates = names[length];
  if (!candidates) return undefined;
  for (const { name, bytes: wanted } of candidates) {
    let same = 0;
    while (same < length && bytes[at + same] === wanted[same]) same++;
    if (same === length) return name;
  }
  return undefined;
}

function hasEscape(bytes: Buffer, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (bytes[i] === backslash) return true;
  return false;
}

const shortEscapes: ReadonlySet<number> = new Set(Buffer.from('"\\/bfnrt'));

function skipString(bytes: Buffer, at: number): number {
  let i = at + 1;
  for (;;) {
    for (const stop = i + shortStringBytes; i < stop; ) {
      const c = bytes[i];
      if (c === undefined || c < 0x20) throw badJson('a string does not end', i);
      if (c === quote) return i + 1;
      i = c === backslash ? skipEscape(bytes, i) : i + 1;
    }
    // Base64 and narratives: native search goes through them ten times as fast.
    const end = bytes.indexOf(quote, i);
    if (end < 0) throw badJson('a string does not end', i);
    const escape = bytes.subarray(i, end).indexOf(backslash);
    const plainEnd = escape < 0 ? end : i + escape;
    if (hasControl(bytes, i, plainEnd)) throw badJson('a string holds a control character', i);
    if (escape < 0) return end + 1;
    i = plainEnd;
  }
}

function skipEscape(bytes: Buffer, at: number): number {
  const c = bytes[at + 1];
  if (c !== undefined && shortEscapes.has(c)) return at + 2;
  if (c !== lowerU) throw badJson('an escape is wrong', at);
  for (let i = at + 2; i < at + 6; i++) if (!isHex(bytes[i])) throw badJson('an escape is wrong', at);
  return at + 6;
}

/**
 * Whether a byte below 0x20 lies in the range, four at a time: in `(w - 0x20202020) & ~w & 0x80808080` a high bit
 * remains when some byte of `w` was smaller than 0x20, and only then.
 */
function hasControl(bytes: Buffer, from: number, to: number): boolean {
  let i = from;
  for (; i < to && (bytes.byteOffset + i) % 4 !== 0; i++) if ((bytes[i] ?? 0) < 0x20) return true;
  if (i === to) return false;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + i, (to - i) >> 2);
  for (let w = 0; w < words.length; w++) {
    const word = words[w] as number;
    if (((word - 0x20202020) & ~word & 0x80808080) !== 0) return true;
  }
  for (i += words.length * 4; i < to; i++) if ((bytes[i] ?? 0) < 0x20) return true;
  return false;
}

function skipNumber(bytes: Buffer, at: number): number {
  let i = bytes[at] === minus ? at + 1 : at;
  if (bytes[i] === zero) i++;
  else i = skipDigits(bytes, i);
  if (bytes[i] === 0x2e) i = skipDigits(bytes, i + 1);
  if (bytes[i] === 0x65 || bytes[i] === 0x45) {
    const hasSign = bytes[i + 1] === 0x2b || bytes[i + 1] === minus;
    i = skipDigits(bytes, i + (hasSign ? 2 : 1));
  }
  return i;
}

function skipDigits(bytes: Buffer, at: number): number {
  let i = at;
  while (isDigit(bytes[i])) i++;
  if (i === at) throw badJson('a number is wrong', at);
  return i;
}

const literals = ['true', 'false', 'null'].map((text) => Buffer.from(text));

function skipLiteral(bytes: Buffer, at: number): number {
  for (const literal of literals) {
    if (bytes[at] !== literal[0]) continue;
    if (bytes.subarray(at, at + literal.length).equals(literal)) return at + literal.length;
  }
  throw badJson('a value is missing', at);
}

function isDigit(c: number | undefined): boolean {
  return c !== undefined && c >= zero && c <= nine;
}

function isHex(c: number | undefined): boolean {
  if (c === undefined) return false;
  const lower = c | 0x20;
  return isDigit(c) || (lower >= 0x61 && lower <= 0x66);
}
