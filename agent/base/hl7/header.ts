/**
 * The header segment (MSH, or BHS and FHS of a batch), read from the bytes. Fields are Latin-1 text on purpose: one
 * char is one byte, so that an acknowledgement echoes what the sender wrote whatever its encoding is.
 */
import { isPlain, type Charset, detectCharset, maskDoubleBytes } from './charset.ts';
import { CR, LF } from './bytes.ts';

/** The longest header segment read; the longest seen in official samples has 230 bytes. */
export const headerBytesMax = 4096;

export interface Header {
  /** MSH-1. */
  readonly separator: string;
  /** First char of MSH-2, `^` almost everywhere. */
  readonly component: string;
  readonly repetition: string;
  readonly escape: string;
  readonly subcomponent: string;
  /** `fields[n - 1]` is MSH-n, as HL7 counts: MSH-1 is the separator itself. Latin-1, one char a byte. */
  readonly fields: readonly string[];
}

/** MSH-n, '' when absent. Valid for BHS-n and FHS-n as well: HL7 v2.5.1 2.14 gives them the same first fields. */
export function field(header: Header, position: number): string {
  return header.fields[position - 1] ?? '';
}

/** First component of MSH-n. */
export function component(header: Header, position: number, index = 1): string {
  return field(header, position).split(header.component)[index - 1] ?? '';
}

/** HL7 v2.5.1 section 2.5.4: what stands for a delimiter that MSH-2 does not name. */
const defaults = '^~\\&';

/** Undefined when `bytes` do not begin with a header segment called `name` of at most `headerBytesMax` bytes. */
export function readHeader(bytes: Buffer, charset?: Charset, name = 'MSH'): Header | undefined {
  if (bytes.length < 8 || bytes.toString('latin1', 0, 3) !== name || !isDelimiter(bytes[3])) return undefined;
  const end = segmentEnd(bytes);
  if (end > headerBytesMax) return undefined;
  const text = bytes.toString('latin1', 0, end);
  // Echoed in an acknowledgement, an end block would end it.
  if (text.includes('\x1c')) return undefined;
  const separator = text.charAt(3);
  const fields = splitFields(bytes.subarray(0, end), text, separator, charset);
  fields[0] = separator;
  const encodingCharacters = fields[1] ?? '';
  const character = (index: number) => encodingCharacters.charAt(index) || defaults.charAt(index);
  return {
    separator,
    component: character(0),
    repetition: character(1),
    escape: character(2),
    subcomponent: character(3),
    fields,
  };
}

function isDelimiter(byte: number | undefined): boolean {
  return byte !== undefined && byte > 0x20 && byte < 0x7f && !/[0-9A-Za-z]/.test(String.fromCharCode(byte));
}

function segmentEnd(bytes: Buffer): number {
  const head = bytes.subarray(0, headerBytesMax + 1);
  const cr = head.indexOf(CR);
  const lf = head.indexOf(LF);
  if (cr < 0 && lf < 0) return head.length;
  return cr < 0 || (lf >= 0 && lf < cr) ? lf : cr;
}

function splitFields(bytes: Buffer, text: string, separator: string, charset: Charset | undefined): string[] {
  if (isPlain(bytes)) return text.split(separator);
  const masked = maskDoubleBytes(text, charset ?? detectCharset(bytes, ''));
  let from = 0;
  return masked.split(separator).map((part) => {
    const original = text.slice(from, from + part.length);
    from += part.length + 1;
    return original;
  });
}
