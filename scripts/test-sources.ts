// Reads test files as source: which rules a test cites, and whether it asserts anything.
import { existsSync, globSync, readFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";
import { root } from "./command.ts";

export interface TestSource {
  readonly file: string;
  readonly line: number;
  readonly rules: readonly string[];
  /** The title up to its first part that is filled in at run time, in which case `whole` is false. */
  readonly title: string;
  readonly whole: boolean;
  readonly asserts: boolean;
}

interface SourceModule {
  /** Bodies of the functions and methods declared in the file, by name. */
  readonly functions: ReadonlyMap<string, readonly ts.Node[]>;
  readonly imports: readonly string[];
  readonly tree: ts.SourceFile;
}

const testFilePatterns = ["{packages,apps}/*/src/**/*.{test,contract}.{ts,tsx}", "{test,bench}/**/*.ts"];
const testFunctions = new Set(["test", "it"]);
const assertingNames = new Set(["expect", "assert"]);
const modules = new Map<string, SourceModule>();

/** The ids with which a test's title begins: `[LOG-1] [LOG-2] …`. */
export function citedRules(title: string): string[] {
  const tags = /^(?:\[[A-Z]+-\d+\]\s*)+/.exec(title)?.[0] ?? "";
  return [...tags.matchAll(/\[([A-Z]+-\d+)\]/g)].map((match) => match[1] ?? "");
}

/** Every test in the repository's sources that cites a rule. */
export function findCitingTests(): TestSource[] {
  const files = globSync(testFilePatterns, { cwd: root, exclude: ["**/node_modules/**"] });
  return files.toSorted().flatMap((file) => findInModule(file, readModule(path.join(root, file))));
}

function findInModule(file: string, module: SourceModule): TestSource[] {
  const found: TestSource[] = [];
  visit(module.tree, (node) => {
    if (!ts.isCallExpression(node) || !testFunctions.has(rootName(node.expression) ?? "")) return;
    const [titleNode, ...rest] = node.arguments;
    const title = titleNode === undefined ? undefined : readTitle(titleNode);
    if (title === undefined || citedRules(title.title).length === 0) return;
    const line = module.tree.getLineAndCharacterOfPosition(node.getStart(module.tree)).line + 1;
    const asserts = rest.some((argument) => reachesAssertion(argument, module, new Set()));
    found.push({ file, line, rules: citedRules(title.title), ...title, asserts });
  });
  return found;
}

function readTitle(node: ts.Node): { title: string; whole: boolean } | undefined {
  if (ts.isTemplateExpression(node)) return { title: node.head.text, whole: false };
  if (!ts.isStringLiteralLike(node)) return undefined;
  // In a table of cases, vitest fills in `%s` and `$name`.
  const fixed = node.text.split(/%[sdifjo#$]|\$\w/)[0] ?? "";
  return { title: fixed, whole: fixed === node.text };
}

// Why by name alone: a test's own assertions may lie in a function or method of the same file, or of one that it imports.
// Without types a namesake could mislead this search; it is there to find the test that asserts nothing, not to outwit anyone.
function reachesAssertion(node: ts.Node, module: SourceModule, seen: Set<ts.Node>): boolean {
  if (seen.has(node)) return false;
  seen.add(node);
  let found = false;
  visit(node, (inner) => {
    if (found || !ts.isCallExpression(inner)) return;
    found = isAssertion(inner) || callees(inner).some((name) => functionAsserts(name, module, seen));
  });
  return found || (ts.isIdentifier(node) && functionAsserts(node.text, module, seen));
}

function isAssertion(call: ts.CallExpression): boolean {
  const last = ts.isPropertyAccessExpression(call.expression) ? call.expression.name.text : undefined;
  return assertingNames.has(rootName(call.expression) ?? "") || assertingNames.has(last ?? "");
}

// The called function and those passed to it: `expectAll(rows)`, `world.check()`, `rows.forEach(check)`.
function callees(call: ts.CallExpression): string[] {
  const called = ts.isPropertyAccessExpression(call.expression) ? call.expression.name : call.expression;
  return [called, ...call.arguments].filter((node) => ts.isIdentifier(node)).map((node) => node.text);
}

function functionAsserts(name: string, module: SourceModule, seen: Set<ts.Node>): boolean {
  const inThisFile = module.functions.get(name) ?? [];
  if (inThisFile.length > 0) return inThisFile.some((body) => reachesAssertion(body, module, seen));
  return module.imports.some((file) => {
    const imported = readModule(file);
    return (imported.functions.get(name) ?? []).some((body) => reachesAssertion(body, imported, seen));
  });
}

function readModule(file: string): SourceModule {
  const known = modules.get(file);
  if (known !== undefined) return known;
  const tree = ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.Latest, true);
  const functions = new Map<string, ts.Node[]>();
  const imports: string[] = [];
  visit(tree, (node) => {
    const declared = declaredFunction(node);
    if (declared !== undefined) functions.set(declared.name, [...(functions.get(declared.name) ?? []), declared.body]);
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      const target = path.resolve(path.dirname(file), node.moduleSpecifier.text);
      if (node.moduleSpecifier.text.startsWith(".") && /\.tsx?$/.test(target) && existsSync(target))
        imports.push(target);
    }
  });
  const module = { functions, imports, tree };
  modules.set(file, module);
  return module;
}

function declaredFunction(node: ts.Node): { name: string; body: ts.Node } | undefined {
  if (ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node)) {
    if (node.name === undefined || node.body === undefined) return undefined;
    return { name: node.name.getText(), body: node.body };
  }
  if (!ts.isVariableDeclaration(node) && !ts.isPropertyAssignment(node) && !ts.isPropertyDeclaration(node))
    return undefined;
  const value = node.initializer;
  if (value === undefined || !(ts.isArrowFunction(value) || ts.isFunctionExpression(value))) return undefined;
  return { name: node.name.getText(), body: value.body };
}

// `test` of `test(…)`, `test.concurrent(…)`, `test.each(rows)(…)` and test.each`…`(…).
function rootName(node: ts.Node): string | undefined {
  if (ts.isIdentifier(node)) return node.text;
  if (ts.isPropertyAccessExpression(node) || ts.isCallExpression(node)) return rootName(node.expression);
  if (ts.isTaggedTemplateExpression(node)) return rootName(node.tag);
  return undefined;
}

function visit(node: ts.Node, act: (node: ts.Node) => void): void {
  act(node);
  ts.forEachChild(node, (child) => visit(child, act));
}
