#include "attributes.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace hyperseg {

namespace {

// Names and texts come from a file: what a message quotes of them is short and printable.
std::string quoted(std::string_view text) {
    std::string result(text.substr(0, 40));
    std::replace_if(result.begin(), result.end(), [](unsigned char c) { return c < 32 || c > 126; }, '?');
    return "'" + result + (text.size() > 40 ? "...'" : "'");
}

std::string listOf(std::vector<char const*> const& choices) {
    std::string list;
    for (char const* choice : choices) {
        list += (list.empty() ? "" : ", ") + quoted(choice);
    }
    return list;
}

Problem checkRange(AttributeSpec const& spec, AttributeValue const& value) {
    for (int32_t number : value) {
        if (number < spec.low || number > spec.high) {
            return quoted(spec.name) + " is " + std::to_string(number) + "; it must be " + std::to_string(spec.low) +
                   " to " + std::to_string(spec.high);
        }
    }
    return {};
}

Problem parseIntegers(AttributeSpec const& spec, Field const& field, AttributeValue& value) {
    if (field.type != FieldType::kInt32 || field.length != spec.count || !field.data) {
        return quoted(spec.name) + " must be " + std::to_string(spec.count) + " integer(s) of 32 bits";
    }
    value.resize(spec.count);
    std::memcpy(value.data(), field.data, value.size() * sizeof(int32_t));  // the data need not be aligned
    return checkRange(spec, value);
}

Problem parseText(AttributeSpec const& spec, Field const& field, AttributeValue& value) {
    if (field.type != FieldType::kChar || field.length < 0 || !field.data) {
        return quoted(spec.name) + " must be a text: one of " + listOf(spec.choices);
    }
    std::string_view text(static_cast<char const*>(field.data), field.length);
    if (!text.empty() && text.back() == '\0') {
        text.remove_suffix(1);
    }
    auto const found = std::find(spec.choices.begin(), spec.choices.end(), text);
    if (found == spec.choices.end()) {
        return quoted(spec.name) + " is " + quoted(text) + "; it must be one of " + listOf(spec.choices);
    }
    value = {static_cast<int32_t>(found - spec.choices.begin())};
    return {};
}

}  // namespace

Problem parseAttributes(std::vector<AttributeSpec> const& specs, Field const* fields, int32_t count,
                        std::vector<AttributeValue>& values) {
    if (count < 0 || (count > 0 && !fields)) {
        return "the field collection is not valid";
    }
    values.assign(specs.size(), {});
    for (int32_t i = 0; i < count; ++i) {
        std::string_view const name = fields[i].name ? fields[i].name : "";
        auto const spec = std::find_if(specs.begin(), specs.end(), [&](auto const& s) { return name == s.name; });
        if (spec == specs.end()) {
            return "there is no attribute " + quoted(name);
        }
        AttributeValue& value = values[spec - specs.begin()];
        if (!value.empty()) {
            return quoted(name) + " is given twice";
        }
        Problem const problem = spec->type() == FieldType::kInt32 ? parseIntegers(*spec, fields[i], value)
                                                                  : parseText(*spec, fields[i], value);
        if (problem) {
            return problem;
        }
    }
    for (size_t i = 0; i < specs.size(); ++i) {
        if (values[i].empty() && !specs[i].defaultValue) {
            return "the attribute " + quoted(specs[i].name) + " is missing";
        }
        if (values[i].empty()) {
            values[i].assign(specs[i].count, *specs[i].defaultValue);
        }
    }
    return {};
}

std::vector<Field> fieldsFromAttributes(std::vector<AttributeSpec> const& specs,
                                        std::vector<AttributeValue> const& values) {
    std::vector<Field> fields;
    for (size_t i = 0; i < specs.size(); ++i) {
        if (specs[i].type() == FieldType::kInt32) {
            fields.push_back({specs[i].name, FieldType::kInt32, values[i].data(), specs[i].count});
        } else {
            char const* text = specs[i].choices[values[i].front()];
            fields.push_back({specs[i].name, FieldType::kChar, text, static_cast<int32_t>(std::strlen(text)) + 1});
        }
    }
    return fields;
}

std::vector<int32_t> wordsFromAttributes(std::vector<AttributeValue> const& values) {
    std::vector<int32_t> words;
    for (AttributeValue const& value : values) {
        words.insert(words.end(), value.begin(), value.end());
    }
    return words;
}

Problem parseWords(std::vector<AttributeSpec> const& specs, void const* bytes, size_t size,
                   std::vector<AttributeValue>& values) {
    size_t expected = 0;
    for (AttributeSpec const& spec : specs) {
        expected += spec.count * sizeof(int32_t);
    }
    if (size != expected || !bytes) {
        return "the stored plugin has " + std::to_string(size) + " bytes instead of " + std::to_string(expected);
    }
    values.clear();
    auto const* next = static_cast<char const*>(bytes);
    for (AttributeSpec const& spec : specs) {
        AttributeValue& value = values.emplace_back(spec.count);
        std::memcpy(value.data(), next, value.size() * sizeof(int32_t));
        next += value.size() * sizeof(int32_t);
        AttributeSpec range = spec;
        if (spec.type() == FieldType::kChar) {
            range.high = static_cast<int32_t>(spec.choices.size()) - 1;
        }
        if (Problem problem = checkRange(range, value)) {
            return problem;
        }
    }
    return {};
}

}  // namespace hyperseg
