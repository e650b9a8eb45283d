/**
 * Walks a value and its zod schema side by side. zod tells what is wrong at a path; which keys were possible there, and
 * which values are paths, addresses or secrets, only the schema at that place knows. Works on what was written and on
 * what was parsed, also where parts of it are wrong.
 */
import { z } from 'zod';
import { optionTraits } from '../base/options.ts';

export type Path = readonly (string | number)[];
export type Trait = 'path' | 'listen' | 'secret';

type Visitor = (trait: Trait | undefined, value: unknown, path: Path) => unknown;

/** A copy in which every leaf, and everything with a trait, is what `visit` returned for it. */
export function mapOptions(
  schema: z.core.$ZodType | undefined,
  value: unknown,
  visit: Visitor,
  path: Path = [],
): unknown {
  const trait = traitOf(schema);
  if (trait === 'listen') return visit(trait, value, path);
  if (Array.isArray(value)) {
    const item = childSchema(schema, value, 0);
    return value.map((entry, index) => mapOptions(item, entry, visit, [...path, index]));
  }
  if (!isRecord(value)) return visit(trait, value, path);
  const entries = Object.entries(value);
  return Object.fromEntries(
    entries.map(([key, entry]) => [key, mapOptions(childSchema(schema, value, key), entry, visit, [...path, key])]),
  );
}

/** The keys an object at this place may have. */
export function keysAt(schema: z.core.$ZodType, root: unknown, path: Path): string[] {
  const [last] = schemasAlong(schema, root, path).slice(-1);
  return last ? Object.keys(shapeOf(last, valueAt(root, path)) ?? {}) : [];
}

/** True where a value must not be shown: a secret, or inside one. */
export function isSecretAt(schema: z.core.$ZodType, root: unknown, path: Path): boolean {
  return schemasAlong(schema, root, path).some((step) => traitOf(step) === 'secret');
}

/** The schemas of the root and of each step of the path, as far as they are known. */
function schemasAlong(schema: z.core.$ZodType, root: unknown, path: Path): z.core.$ZodType[] {
  const along = [schema];
  let value = root;
  for (const key of path) {
    const next = childSchema(along.at(-1), value, key);
    if (!next) break;
    along.push(next);
    value = child(value, key);
  }
  return along;
}

function childSchema(
  schema: z.core.$ZodType | undefined,
  value: unknown,
  key: string | number,
): z.core.$ZodType | undefined {
  const plain = schema && unwrap(schema, value);
  if (plain instanceof z.ZodArray) return plain.element;
  if (plain instanceof z.ZodRecord) return plain.valueType;
  return schema && shapeOf(schema, value)?.[key];
}

function shapeOf(schema: z.core.$ZodType, value: unknown): Readonly<Record<string, z.core.$ZodType>> | undefined {
  const plain = unwrap(schema, value);
  return plain instanceof z.ZodObject ? plain.shape : undefined;
}

/** The schema inside defaults, options and transforms; of a union, the alternative that this value means. */
function unwrap(schema: z.core.$ZodType, value: unknown): z.core.$ZodType {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault) {
    return unwrap(schema.def.innerType, value);
  }
  if (schema instanceof z.ZodPipe) return unwrap(schema.def.in, value);
  if (!(schema instanceof z.ZodUnion)) return schema;
  const meant = schema.options.find((option) => isMeant(option, value));
  return meant ? unwrap(meant, value) : schema;
}

/** By a literal (`kind: hl7v2`) where the alternatives have one, else by the keys (`file`, `credential`). */
function isMeant(option: z.core.$ZodType, value: unknown): boolean {
  if (!(option instanceof z.ZodObject) || !isRecord(value)) return false;
  const shape: Readonly<Record<string, z.core.$ZodType>> = option.shape;
  const literals = Object.entries(shape).filter(([, part]) => part instanceof z.ZodLiteral);
  if (literals.length > 0) return literals.every(([key, part]) => z.safeParse(part, value[key]).success);
  return Object.keys(shape).some((key) => key in value);
}

function traitOf(schema: z.core.$ZodType | undefined): Trait | undefined {
  if (!schema) return undefined;
  const inner = schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault;
  return optionTraits.get(schema)?.kind ?? (inner ? traitOf(schema.def.innerType) : undefined);
}

export function valueAt(root: unknown, path: Path): unknown {
  return path.reduce<unknown>(child, root);
}

function child(value: unknown, key: string | number): unknown {
  if (Array.isArray(value)) return value[Number(key)];
  return isRecord(value) ? value[key] : undefined;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
