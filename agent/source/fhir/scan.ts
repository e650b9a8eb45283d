/**
 * A page of a search, cut into resources without rebuilding any: where each begins and ends, and the few words that
 * paging needs. The bytes between are the hospital's, to the last trailing zero of a lab value.
 */
import { isUtf8 } from 'node:buffer';
import { ConnectorError } from '../../model/errors.ts';
import { eventPaths } from './event-time.ts';
import { badJson, type Names, namesOf, readString, skipSpace, skipValue, walkArray, walkObject } from './json.ts';

/** The largest single resource: a DocumentReference with a scanned file in it. Beyond it is no text record. */
const resourceBytesMax = 64 * 1024 * 1024;

/** Where a member's value lies. */
export interface Member {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

export interface ScannedResource {
  /** Index of `{`, and of the byte after its `}`. */
  readonly start: number;
  readonly end: number;
  /** Those that `outline.ts` reads, as they come. */
  readonly members: readonly Member[];
  readonly resourceType: string;
  readonly id: string | undefined;
  readonly versionId: string | undefined;
  readonly lastUpdated: string | undefined;
}

export interface ScannedEntry extends ScannedResource {
  /** `Bundle.entry.search.mode`: `match`, `include`, `outcome`. */
  readonly mode: string | undefined;
}

export interface ScannedBundle {
  /** `searchset`, `collection` … */
  readonly type: string | undefined;
  readonly total: number | undefined;
  /** Of the link `next`, as written. */
  readonly next: string | undefined;
  readonly entries: readonly ScannedEntry[];
}

/**
 * A whole Bundle. An entry without a resource (a delete in a history) is left out. JSON that is something else has no
 * `type`.
 *
 * @throws ConnectorError FHIR_BAD_JSON, FHIR_PAGE_TOO_LARGE for one resource over its bound.
 */
export function scanBundle(page: Buffer, limitBytes = resourceBytesMax): ScannedBundle {
  const found: Draft = { entries: [] };
  const end = walkObject(page, beginOf(page), 0, bundleNames, (name, at) => {
    if (name === 'entry') return scanEntries(page, at, limitBytes, found);
    if (name === 'link') return scanLinks(page, at, found);
    const valueEnd = skipValue(page, at, 1);
    if (name === 'resourceType') found.resourceType = readString(page, at, valueEnd);
    if (name === 'type') found.type = readString(page, at, valueEnd);
    if (name === 'total') found.total = countOf(page.toString('latin1', at, valueEnd));
    return valueEnd;
  });
  if (skipSpace(page, end) !== page.length) throw badJson('something follows its end', end);
  const type = found.resourceType === 'Bundle' ? found.type : undefined;
  return { type, total: found.total, next: found.next, entries: found.entries };
}

/** One resource alone. The same errors. */
export function scanResource(bytes: Buffer, limitBytes = resourceBytesMax): ScannedResource {
  const resource = scanAt(bytes, beginOf(bytes), 0, limitBytes);
  if (skipSpace(bytes, resource.end) !== bytes.length) throw badJson('something follows its end', resource.end);
  return resource;
}

const bundleNames = namesOf('resourceType', 'type', 'total', 'link', 'entry');
const entryNames = namesOf('resource', 'search');
const searchNames = namesOf('mode');
const linkNames = namesOf('relation', 'url');
/** Members that facts are read from, of any type but Patient; the rest of the bytes is never made into anything. */
const outlineNames = ['resourceType', 'id', 'meta', 'category', 'contained', 'subject', 'patient', 'beneficiary'];
const resourceNames = namesOf(...new Set([...outlineNames, ...eventPaths.map(([name]) => name)]));
const metaNames = namesOf('versionId', 'lastUpdated');

interface Draft {
  resourceType?: string | undefined;
  type?: string | undefined;
  total?: number | undefined;
  next?: string | undefined;
  entries: ScannedEntry[];
}

function beginOf(bytes: Buffer): number {
  if (!isUtf8(bytes)) throw badJson('it is not UTF-8', 0);
  // RFC 8259 section 8.1 forbids the byte order mark and allows readers to ignore it.
  const isMarked = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  return skipSpace(bytes, isMarked ? 3 : 0);
}

function scanEntries(page: Buffer, at: number, limitBytes: number, found: Draft): number {
  // Written twice, the last one counts, as it does for every parser.
  found.entries = [];
  return walkArray(page, at, 1, (entryAt) => {
    let resource: ScannedResource | undefined;
    let mode: string | undefined;
    const end = walkObject(page, entryAt, 2, entryNames, (name, valueAt) => {
      if (name === 'resource') {
        resource = scanAt(page, valueAt, 3, limitBytes);
        return resource.end;
      }
      if (name !== 'search') return skipValue(page, valueAt, 3);
      return walkIfObject(page, valueAt, 3, searchNames, (inner, innerAt, innerEnd) => {
        if (inner === 'mode') mode = readString(page, innerAt, innerEnd);
      });
    });
    if (resource) found.entries.push({ ...resource, mode });
    return end;
  });
}

function scanLinks(page: Buffer, at: number, found: Draft): number {
  found.next = undefined;
  return walkArray(page, at, 1, (linkAt) => {
    let relation: string | undefined;
    let url: string | undefined;
    const end = walkIfObject(page, linkAt, 2, linkNames, (name, valueAt, valueEnd) => {
      if (name === 'relation') relation = readString(page, valueAt, valueEnd);
      if (name === 'url') url = readString(page, valueAt, valueEnd);
    });
    if (relation === 'next') found.next = url;
    return end;
  });
}

function scanAt(bytes: Buffer, start: number, depth: number, limitBytes: number): ScannedResource {
  let resourceType: string | undefined;
  let id: string | undefined;
  let versionId: string | undefined;
  let lastUpdated: string | undefined;
  const members: Member[] = [];
  const end = walkObject(bytes, start, depth, resourceNames, (name, at) => {
    const valueEnd =
      name !== 'meta'
        ? skipValue(bytes, at, depth + 1)
        : walkIfObject(bytes, at, depth + 1, metaNames, (inner, innerAt, innerEnd) => {
            if (inner === 'versionId') versionId = readString(bytes, innerAt, innerEnd);
            if (inner === 'lastUpdated') lastUpdated = readString(bytes, innerAt, innerEnd);
          });
    if (name !== undefined) members.push({ name, start: at, end: valueEnd });
    if (name === 'resourceType') resourceType = readString(bytes, at, valueEnd);
    if (name === 'id') id = readString(bytes, at, valueEnd);
    return valueEnd;
  });
  if (end - start > limitBytes) throw new ConnectorError('FHIR_PAGE_TOO_LARGE', { what: 'a resource', limitBytes });
  if (resourceType === undefined) throw badJson('a resource has no resourceType', start);
  return { start, end, members, resourceType, id, versionId, lastUpdated };
}

/** An object's members with where each value lies; anything else is skipped. */
function walkIfObject(
  bytes: Buffer,
  at: number,
  depth: number,
  names: Names,
  member: (name: string | undefined, at: number, end: number) => void,
): number {
  if (bytes[at] !== 0x7b) return skipValue(bytes, at, depth);
  return walkObject(bytes, at, depth, names, (name, valueAt) => {
    const end = skipValue(bytes, valueAt, depth + 1);
    member(name, valueAt, end);
    return end;
  });
}

function countOf(text: string): number | undefined {
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
