// Compiles a job of a Flamenco job type outside of Flamenco: node flamenco_job.js SCRIPT SETTINGS_JSON
// Prints its tasks as JSON. Flamenco's own globals are stood in for by these few lines.
const fs = require("fs");
globalThis.path = require("path").posix;
globalThis.formatTimestampLocal = () => "2026-01-02_030405";
globalThis.author = {
    Task: (name, type) => ({
        name, type, commands: [], dependencies: [],
        addCommand(command) { this.commands.push(command); },
        addDependency(task) { this.dependencies.push(task.name); },
    }),
    Command: (name, parameters) => ({ name, parameters }),
};
// Frames as Flamenco writes them: neighbours as 3-8, but two of them as 3,4.
function ranges(numbers) {
    const found = [];
    for (const number of numbers) {
        const last = found[found.length - 1];
        if (last && number === last[1] + 1) {
            last[1] = number;
        } else {
            found.push([number, number]);
        }
    }
    return found.map(([a, b]) => (a === b ? `${a}` : b === a + 1 ? `${a},${b}` : `${a}-${b}`)).join(",");
}
globalThis.frameChunker = (frames, size) => {
    const numbers = frames.split(",").flatMap((part) => {
        const [first, last] = part.split("-").map(Number);
        return Array.from({ length: (last ?? first) - first + 1 }, (_, index) => first + index);
    });
    const chunks = [];
    for (let begin = 0; begin < numbers.length; begin += size) {
        chunks.push(ranges(numbers.slice(begin, begin + size)));
    }
    return chunks;
};
const [script, settings] = process.argv.slice(2);
const compile = new Function(`${fs.readFileSync(script, "utf8")}; return [JOB_TYPE, compileJob];`);
const [jobType, compileJob] = compile();
const tasks = [];
compileJob({ settings: JSON.parse(settings), created: new Date(0), addTask: (task) => tasks.push(task) });
console.log(JSON.stringify({ jobType, tasks }));
