/** Reading parsed JSON of which nothing is known: whatever is not as expected is as if it were not there. */

export type JsonObject = Readonly<Record<string, unknown>>;

/** Longer texts are no name, code or number, and would not fit a parcel's line. */
const textCharsMax = 1000;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** An object's member, or undefined. */
export function at(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>((inner, key) => (isObject(inner) ? inner[key] : undefined), value);
}

/** The objects of an array. */
export function objects(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** The texts of an array. */
export function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item): item is string => text(item) !== undefined) : [];
}

/** A text with something in it. */
export function text(value: unknown): string | undefined {
  return typeof value === 'string' && value.trim() !== '' && value.length <= textCharsMax ? value : undefined;
}
