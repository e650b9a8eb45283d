/** Fields of a segment that has been decoded already (see `charset.ts` for why in that order). */
export interface Delimiters {
  readonly separator: string;
  readonly component: string;
  readonly repetition: string;
  readonly escape: string;
  readonly subcomponent: string;
}

/** Segments repeat things; a bound keeps a hostile one from making millions of strings. */
const fieldsMax = 128;

/** `fields[n]` is the segment's field n; `fields[0]` its name. */
export function fieldsOf(segment: string, { separator }: Delimiters): string[] {
  return segment.split(separator, fieldsMax);
}

/** One component's text: HL7's null `""` is nothing, escapes are resolved, blanks are kept (also U+3000). */
export function clean(text: string | undefined, delimiters: Delimiters): string {
  if (text === undefined || text === '""') return '';
  return unescape(text, delimiters);
}

/** Escape sequences of HL7 v2.5.1 section 2.7 that stand for a delimiter; the formatting ones are left as they are. */
function unescape(text: string, delimiters: Delimiters): string {
  const mark = delimiters.escape;
  if (mark === '' || !text.includes(mark)) return text;
  const meanings: Readonly<Record<string, string>> = {
    F: delimiters.separator,
    S: delimiters.component,
    T: delimiters.subcomponent,
    R: delimiters.repetition,
    E: mark,
  };
  let result = '';
  for (let at = 0; at < text.length; ) {
    const meaning = text[at] === mark && text[at + 2] === mark ? meanings[text[at + 1] ?? ''] : undefined;
    result += meaning ?? text[at] ?? '';
    at += meaning === undefined ? 1 : 3;
  }
  return result;
}

/**
 * TS as ISO 8601, as far as it tells: `YYYY[MM[DD[HH[MM[SS[.S…]]]]]][+/-ZZZZ]`, HL7 v2.5.1 section 2.A.76. A time
 * without offset is Japan's. Undefined for what is no such time.
 */
export function isoTime(ts: string): string | undefined {
  const match = /^(\d{4})(\d\d)?(\d\d)?(?:(\d\d)(\d\d)?(?:(\d\d)(\.\d{1,4})?)?)?([+-]\d{4})?$/.exec(ts.trim());
  if (!match) return undefined;
  const [, year, month, day, hour, minute = '00', second, fraction = '', offset = '+0900'] = match;
  if (!isDate(Number(year), Number(month ?? 1), Number(day ?? 1))) return undefined;
  const date = [year, month, day].filter((part) => part !== undefined).join('-');
  if (hour === undefined) return date;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second ?? 0) > 59) return undefined;
  const seconds = second === undefined ? '' : `:${second}${fraction}`;
  return `${date}T${hour}:${minute}${seconds}${offset.slice(0, 3)}:${offset.slice(3)}`;
}

/** Counted and not parsed as text: this runs for every message. */
function isDate(year: number, month: number, day: number): boolean {
  const date = new Date(Date.UTC(year, month - 1, day));
  return year > 0 && date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
}
